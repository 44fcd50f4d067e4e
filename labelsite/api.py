"""The API's addresses, under /api/v1/ (API.md)."""

from django.urls import include, path, re_path
from rest_framework.routers import DefaultRouter

from assist.api import AssistRunViewSet, ProjectAssistRunViewSet
from exports.api import ExportViewSet, LabeledDatasetViewSet, ProjectExportViewSet
from labeling.api.classes import ProjectClassViewSet
from labeling.api.labelers import LabelingPageViewSet, LabelingProjectViewSet
from labeling.api.managers import ProjectImageViewSet, ProjectLabelingViewSet
from labelsite.api_pages import pages
from labelsite.problems import no_such_address
from labelsite.schema import schema
from projects.api import DatasetViewSet, DatastoreViewSet, ProjectViewSet

PROJECT = "projects/(?P<project>[0-9]{1,18})"

router = DefaultRouter()
router.include_root_view = False
router.include_format_suffixes = False  # there is JSON only
router.register("datastores", DatastoreViewSet, basename="datastore")
router.register("datasets", DatasetViewSet, basename="dataset")
router.register("projects", ProjectViewSet, basename="project")
router.register("projects", ProjectLabelingViewSet, basename="project-labeling")
router.register(rf"{PROJECT}/images", ProjectImageViewSet, basename="image")
router.register(rf"{PROJECT}/assist-runs", ProjectAssistRunViewSet, basename="project-assist-run")
router.register("assist-runs", AssistRunViewSet, basename="assist-run")
router.register(rf"{PROJECT}/classes", ProjectClassViewSet, basename="project-class")
router.register(rf"{PROJECT}/exports", ProjectExportViewSet, basename="project-export")
router.register("exports", ExportViewSet, basename="export")
router.register("labeling/projects", LabelingProjectViewSet, basename="labeling-project")
router.register("labeling/pages", LabelingPageViewSet, basename="labeling-page")

app_name = "api"
urlpatterns = [
    path("schema/", schema, name="schema"),
    path("docs/", pages, name="docs"),
    path("labeled-datasets/", LabeledDatasetViewSet.as_view({"get": "list"}), name="labeled-dataset-list"),
    path(
        "labeled-datasets/<slug:name>/<slug:version>/",
        LabeledDatasetViewSet.as_view({"get": "retrieve"}),
        name="labeled-dataset",
    ),
    path("", include(router.urls)),
    re_path(r"^(?P<path>.*)$", no_such_address),
]

"""The API's addresses, under /api/v1/ (API.md)."""

from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView
from rest_framework.routers import DefaultRouter

from assist.api import AssistRunViewSet, ProjectAssistRunViewSet
from exports.api import ExportViewSet, LabeledDatasetViewSet, ProjectExportViewSet
from labeling.api.labelers import LabelingPageViewSet, LabelingProjectViewSet
from labeling.api.managers import ProjectImageViewSet, ProjectLabelingViewSet
from projects.api import DatasetViewSet, DatastoreViewSet, ProjectViewSet

router = DefaultRouter()
router.include_root_view = False
router.include_format_suffixes = False  # there is JSON only
router.register("datastores", DatastoreViewSet, basename="datastore")
router.register("datasets", DatasetViewSet, basename="dataset")
router.register("projects", ProjectViewSet, basename="project")
router.register("projects", ProjectLabelingViewSet, basename="project-labeling")
router.register(r"projects/(?P<project>\d+)/images", ProjectImageViewSet, basename="image")
router.register(r"projects/(?P<project>\d+)/assist-runs", ProjectAssistRunViewSet, basename="project-assist-run")
router.register("assist-runs", AssistRunViewSet, basename="assist-run")
router.register(r"projects/(?P<project>\d+)/exports", ProjectExportViewSet, basename="project-export")
router.register("exports", ExportViewSet, basename="export")
router.register("labeling/projects", LabelingProjectViewSet, basename="labeling-project")
router.register("labeling/pages", LabelingPageViewSet, basename="labeling-page")

app_name = "api"
urlpatterns = [
    path("schema/", SpectacularAPIView.as_view(), name="schema"),
    path("labeled-datasets/", LabeledDatasetViewSet.as_view({"get": "list"}), name="labeled-dataset-list"),
    path(
        "labeled-datasets/<slug:name>/<slug:version>/",
        LabeledDatasetViewSet.as_view({"get": "retrieve"}),
        name="labeled-dataset",
    ),
    path("", include(router.urls)),
]

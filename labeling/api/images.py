"""What the API says of an image: its labels, the addresses of its pictures, its history."""

from __future__ import annotations

from typing import Any

from django.urls import reverse
from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers

from labeling.models import Annotation, Kind, LabelEvent, LabelTask, Status
from labeling.pages import image_version
from labeling.resets import Restarts
from projects.models import Image, Project
from projects.rest import ID

STATUS = f"({'|'.join(Status.values)})"
DAY = {"type": "string", "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}", "example": "2026-11-23"}
SHARE = {"type": "number", "minimum": 0, "maximum": 1}
FILTERS = [
    OpenApiParameter(
        "status",
        {"type": "string", "pattern": f"^{STATUS}(,{STATUS})*$"},
        description="One or more states, with commas.",
    ),
    OpenApiParameter("label_class", ID, description="The id of a class that the image has now."),
    OpenApiParameter("labeler", ID, description="The id of the person who labeled it."),
    OpenApiParameter("since", DAY, description="Labeled at or after this day, or moment."),
    OpenApiParameter("until", DAY, description="Labeled before this day, or moment."),
    OpenApiParameter("kind", str, enum=Kind.values, description="How it was handed out."),
    OpenApiParameter("confidence_from", SHARE, description="Suggested with at least this confidence."),
    OpenApiParameter("confidence_to", SHARE, description="Suggested with at most this confidence."),
    OpenApiParameter("path", str, description="A part of the path."),
]


class BoxField(serializers.ListField):
    """A box: x, y, width, height in pixels of the image as displayed."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"child": serializers.FloatField(), "min_length": 4, "max_length": 4, **kwargs})


class PrelabelSerializer(serializers.Serializer):
    """A suggestion: of a model, of an import, or what stood before a restart."""

    label_class = serializers.IntegerField()
    confidence = serializers.FloatField(allow_null=True, required=False)
    box = BoxField(required=False)


class PictureSerializer(serializers.Serializer):
    """An image to look at; its size is as displayed, in pixels, and null until it was first opened."""

    id = serializers.IntegerField()
    path = serializers.CharField()
    width = serializers.IntegerField(allow_null=True)
    height = serializers.IntegerField(allow_null=True)
    preview_url = serializers.CharField()
    file_url = serializers.CharField()


class GivenLabelSerializer(serializers.Serializer):
    """A label that stands: a class and, in detection, a box."""

    label_class = serializers.IntegerField()
    box = BoxField(required=False)


class ImageSerializer(serializers.Serializer):
    """An image with its current labels."""

    id = serializers.IntegerField()
    task = serializers.IntegerField()
    status = serializers.ChoiceField(choices=Status.choices)
    kind = serializers.ChoiceField(choices=Kind.choices)
    image = PictureSerializer()
    problem = serializers.CharField(allow_blank=True)
    labels = GivenLabelSerializer(many=True)
    labeler = serializers.CharField(allow_null=True)
    labeled_at = serializers.DateTimeField(allow_null=True)
    confidence = serializers.FloatField(allow_null=True)


class EventSerializer(serializers.Serializer):
    """Who did what, when and how; ``before`` and ``labels`` are what stood before and after."""

    action = serializers.ChoiceField(choices=LabelEvent.Action.choices)
    by = serializers.CharField(allow_null=True)
    at = serializers.DateTimeField()
    kind = serializers.CharField(allow_blank=True)
    seconds = serializers.FloatField(allow_null=True)
    detail = serializers.DictField()
    before = GivenLabelSerializer(many=True)
    labels = GivenLabelSerializer(many=True)


class ImageDetailSerializer(ImageSerializer):
    """An image with its labels, history and suggestion."""

    history = EventSerializer(many=True)
    prediction = PrelabelSerializer(many=True, allow_null=True)


def picture(project_id: int, image: Image | dict[str, Any], version: str = "") -> dict[str, Any]:
    """Return an image with addresses that a token opens, too."""
    of = image.get if isinstance(image, dict) else lambda name: getattr(image, name)
    names = {"project": project_id, "pk": of("id")}
    preview = reverse("api:image-preview", kwargs=names)
    return {
        **{name: of(name) for name in ("id", "path", "width", "height")},
        "preview_url": f"{preview}?size=512" + (f"&v={version}" if version else ""),
        "file_url": reverse("api:image-file", kwargs=names),
    }


def with_api_addresses(project: Project, data: dict[str, Any]) -> dict[str, Any]:
    """Return an image's data with the addresses of the API in place of those of the pages."""
    version = data["image"]["preview_url"].rpartition("?v=")[2]
    return {**data, "image": picture(project.pk, data["image"], version)}


def task_picture(project: Project, task: LabelTask) -> dict[str, Any]:
    """Return a task's image in the shape of API.md."""
    return picture(project.pk, task.image, image_version(task.image))


def history_of(task: LabelTask) -> list[dict[str, Any]]:
    """Return what happened to an image, oldest first, with the labels before and after (SPEC N6)."""
    events = LabelEvent.objects.filter(task=task).select_related("by").order_by("pk")
    given = list(Annotation.objects.filter(task=task).order_by("place"))
    restarts = Restarts(task.project)

    def labels_at(event_id: int) -> list[dict[str, Any]]:
        """Return the labels that stood right after an event, which need not be one of this image."""
        return [
            {"label_class": a.label_class_id, **({"box": a.box} if a.box else {})}
            for a in given
            if restarts.stood(event_id, a.created_by_event_id, a.ended_by_event_id)
        ]

    return [
        {
            "action": event.action,
            "by": (event.by.get_full_name() or event.by.username) if event.by else None,
            "at": event.at,
            "kind": event.kind,
            "seconds": event.seconds,
            "detail": event.detail,
            "before": labels_at(event.pk - 1),
            "labels": labels_at(event.pk),
        }
        for event in events
    ]

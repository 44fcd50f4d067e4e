"""Bodies that the API's pages show (/api/v1/docs/): what a program sends to set a project up."""

from drf_spectacular.utils import OpenApiExample

NEW_DATASTORE = [
    OpenApiExample(
        "A folder of the server",
        value={"name": "photos", "kind": "local", "container": "/data/photos"},
        request_only=True,
    ),
]
DATASTORE_CHANGE = [OpenApiExample("Another name", value={"name": "old photos"}, request_only=True)]
NEW_DATASET = [
    OpenApiExample(
        "A folder and all below it",
        value={"name": "birds 2026", "datastore": 1, "pattern": "birds/2026/**", "description": "From the feeder"},
        request_only=True,
    ),
]
NEW_PROJECT = [
    OpenApiExample(
        "Boxes around birds",
        value={
            "name": "Birds",
            "task_type": "detection",
            "dataset": 1,
            "classes": [{"name": "wren"}, {"name": "robin", "color": "#c0392b"}],
            "instructions": {"text": "Box every bird, however small."},
            "incremental_refresh": True,
            "assist": {"enabled": True, "target_precision": 0.95},
        },
        request_only=True,
    ),
]
PROJECT_CHANGE = [
    OpenApiExample(
        "Another name, and assist off",
        value={"name": "Garden birds", "assist": {"enabled": False}},
        request_only=True,
    ),
]

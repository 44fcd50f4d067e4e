"""Labels that come in from files: COCO (with Azure's habits) and CSV, matched to a project's images by path."""

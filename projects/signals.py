"""What happens to images and projects, for the apps above that care (imports go one way only)."""

from django.dispatch import Signal

# Sent inside the transaction that wrote the rows. Arguments: project, image_ids.
images_registered = Signal()
# Arguments: project, image_ids. Their files are gone, back again, or hold something else now.
images_missing = Signal()
images_returned = Signal()
images_changed = Signal()
# Sent inside the transaction that added, merged, retired or brought back classes, or set labels aside or restored them.
# Arguments: project (its row is locked).
classes_changed = Signal()
# Sent inside the transaction that ends a refresh well. Arguments: project, added (how many images joined).
refresh_finished = Signal()
# Sent inside the transaction that saves the settings of ML assisted labeling. Arguments: project (its row is locked).
assist_changed = Signal()
# Sent inside the transaction that deletes a project, before it does. Arguments: project.
project_deleting = Signal()
# Asks how much is left to label and how many images were labeled in the last hour. Arguments: project.
asking_for_pace = Signal()

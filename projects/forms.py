"""Forms of the console: the wizard's steps, datastores, datasets and tokens."""

from __future__ import annotations

from typing import Any, Self, cast

from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, URLValidator
from django.http import QueryDict
from django.utils.text import slugify
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from projects import devices
from projects.creation import check_class_names
from projects.finding import look
from projects.models import Dataset, DatasetQuerySet, Datastore, DatastoreQuerySet, Person, Project
from projects.palette import COLORS
from projects.patterns import PatternError
from projects.stores import StoreError

PLAIN = (forms.CheckboxInput, forms.RadioSelect, forms.HiddenInput)


class ConsoleForm(forms.Form):
    """A form in the design system's clothes; the first field with an error takes the focus."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for bound in self.fields.values():
            if not isinstance(bound.widget, PLAIN):
                bound.widget.attrs["class"] = f"input {bound.widget.attrs.get('class', '')}".strip()

    def offer_to(self, user: Person) -> Self:
        """Offer what this person may use, and nothing else."""
        return self

    def full_clean(self) -> None:
        """Validate, and mark where to go on."""
        super().full_clean()
        wrong = next((name for name in self.fields if name in self.errors), None)
        if wrong:
            self.fields[wrong].widget.attrs["autofocus"] = True

    def forget_errors(self) -> None:
        """Show what was typed without a word: errors come when somebody presses Next."""
        self.errors.clear()
        for bound in self.fields.values():
            bound.widget.attrs.pop("autofocus", None)


# --- The wizard's steps -----------------------------------------------------------------------------


class DetailsForm(ConsoleForm):
    """What the project is called, and what is asked of each image."""

    name = forms.CharField(
        label=gettext_lazy("Project name"),
        max_length=100,
        error_messages={"required": gettext_lazy("Give the project a name.")},
    )
    task_type = forms.ChoiceField(
        label=gettext_lazy("What is asked of each image?"),
        choices=Project.TaskType.choices,
        widget=forms.RadioSelect,
        error_messages={"required": gettext_lazy("Choose what is asked of each image.")},
    )
    is_open_to_all = forms.BooleanField(
        label=gettext_lazy("Every labeler of this site may label"),
        help_text=gettext_lazy("Otherwise name the people and groups on the project's Details tab."),
        required=False,
        initial=True,
    )

    def clean_name(self) -> str:
        """Names are unique."""
        name = self.cleaned_data["name"].strip()
        if Project.objects.filter(name=name).exists():
            raise ValidationError(_("There is a project “%(name)s” already. Choose another name.") % {"name": name})
        return name


class DataForm(ConsoleForm):
    """Where the images are: a dataset made before, a path in a datastore, or this computer."""

    DATASET, DATASTORE, UPLOAD = "dataset", "datastore", "upload"

    source = forms.ChoiceField(
        choices=[(DATASET, ""), (DATASTORE, ""), (UPLOAD, "")], widget=forms.RadioSelect, initial=DATASTORE
    )
    dataset = forms.ModelChoiceField(
        label=gettext_lazy("Dataset"), queryset=Dataset.objects.select_related("datastore"), required=False
    )
    datastore = forms.ModelChoiceField(
        label=gettext_lazy("Datastore"), queryset=Datastore.objects.all(), required=False, empty_label=None
    )
    pattern = forms.CharField(
        label=gettext_lazy("Path"),
        max_length=1000,
        required=False,
        initial="**/*.*",
        widget=forms.TextInput(attrs={"class": "mono", "spellcheck": "false", "autocomplete": "off"}),
    )
    upload_datastore = forms.ModelChoiceField(
        label=gettext_lazy("Store in"), queryset=Datastore.objects.all(), required=False, empty_label=None
    )
    upload_folder = forms.CharField(
        label=gettext_lazy("Folder"),
        max_length=500,
        required=False,
        widget=forms.TextInput(attrs={"class": "mono", "spellcheck": "false"}),
    )
    dataset_name = forms.CharField(
        label=gettext_lazy("Dataset name"),
        max_length=100,
        required=False,
        help_text=gettext_lazy("The images can serve other projects under this name."),
    )

    def offer_to(self, user: Person) -> Self:
        """Offer the datastores and datasets that this person may use (SPEC R3)."""
        _narrow(self.fields, user, "dataset", "datastore", "upload_datastore")
        return self

    def clean(self) -> dict[str, Any]:
        """Ask for what the chosen source needs, and look whether there are images."""
        data = super().clean() or self.cleaned_data
        source = data.get("source")
        if source == self.DATASET:
            if not data.get("dataset") and "dataset" not in self.errors:
                self.add_error("dataset", _("Choose a dataset, or take the images from a datastore or this computer."))
            return data
        if source == self.UPLOAD:
            datastore, pattern = data.get("upload_datastore"), f"{(data.get('upload_folder') or '').strip('/')}/**"
            self._check_images("upload_folder", datastore, pattern, _("No image has been uploaded yet."))
        else:
            datastore, pattern = data.get("datastore"), data.get("pattern", "")
            self._check_images("pattern", datastore, pattern, _("No image is found there. Check the path, or browse."))
        data["place"] = (datastore, pattern)
        if not data.get("dataset_name"):
            self.add_error("dataset_name", _("Give the dataset a name."))
        elif Dataset.objects.filter(name=data["dataset_name"]).exists():
            self.add_error(
                "dataset_name",
                _("There is a dataset “%(name)s” already. Choose another name, or take that dataset.")
                % {"name": data["dataset_name"]},
            )
        return data

    def _check_images(self, name: str, datastore: Datastore | None, pattern: str, nothing: str) -> None:
        if datastore is None:
            self.add_error("datastore" if name == "pattern" else "upload_datastore", _("Choose a datastore."))
            return
        try:
            found = look(datastore, pattern)
        except (PatternError, StoreError) as error:
            self.add_error(name, str(error))
            return
        if found.is_complete and not found.n_images:
            self.add_error(name, nothing)


class RefreshForm(ConsoleForm):
    """Whether new images join by themselves."""

    incremental_refresh = forms.BooleanField(
        label=gettext_lazy("Look for new images by itself"),
        help_text=gettext_lazy(
            "New images in the dataset join the project: more often the less is left to label, at once when nothing "
            "is. Images that have gone leave the queue; their labels stay."
        ),
        required=False,
    )


class ClassesForm(ConsoleForm):
    """The classes, one per row, or one per line of the list."""

    as_list = forms.BooleanField(required=False, widget=forms.HiddenInput)
    class_list = forms.CharField(
        label=gettext_lazy("Classes, one per line"),
        required=False,
        widget=forms.Textarea(attrs={"rows": 10, "spellcheck": "false"}),
    )

    @property
    def rows(self) -> list[dict[str, str]]:
        """The rows as they were typed: name, colour and what is wrong with it."""
        if not self.is_bound:
            return []
        assert isinstance(self.data, QueryDict)
        names, colors = self.data.getlist("class_name"), self.data.getlist("class_color")
        colors += [""] * (len(names) - len(colors))
        rows = [{"name": name, "color": color, "error": ""} for name, color in zip(names, colors, strict=False)]
        if self.data.get("as_list"):
            known = {row["name"].strip().lower(): row["color"] for row in rows}
            lines = [line.strip() for line in self.data.get("class_list", "").splitlines()]
            rows = [{"name": line, "color": known.get(line.lower(), ""), "error": ""} for line in lines if line]
        return rows

    @property
    def checked_rows(self) -> list[dict[str, str]]:
        """The rows with the sentence that each one's error needs."""
        seen: dict[str, str] = {}
        rows = self.rows
        for row in rows:
            name = row["name"].strip()
            if name and name.lower() in seen:
                row["error"] = _("There is “%(name)s” already.") % {"name": seen[name.lower()]}
            elif len(name) > 100:
                row["error"] = _("A name has at most 100 characters.")
            if name:
                seen.setdefault(name.lower(), name)
        return rows

    def clean(self) -> dict[str, Any]:
        """Return the classes as (name, colour or None) in their order; empty rows don't count."""
        data = super().clean() or self.cleaned_data
        rows = [row for row in self.checked_rows if row["name"].strip()]
        if any(row["error"] for row in rows):
            raise ValidationError(_("Names differ, and have at most 100 characters: see the rows below."))
        try:
            names = check_class_names(row["name"] for row in rows)
        except ValidationError as error:
            raise ValidationError(error.messages) from error
        data["classes"] = [
            (name, row["color"] if _is_color(row["color"]) else None) for name, row in zip(names, rows, strict=True)
        ]
        return data


def _is_color(text: str) -> bool:
    is_hex = len(text) == 7 and text[0] == "#" and all(char in "0123456789abcdefABCDEF" for char in text[1:])
    return text in COLORS or is_hex


class InstructionsForm(ConsoleForm):
    """A link, a text, or both."""

    instructions_url = forms.URLField(
        label=gettext_lazy("Link to a page"),
        required=False,
        max_length=500,
        assume_scheme="https",
        validators=[URLValidator(schemes=["http", "https"])],
        help_text=gettext_lazy("It opens in a tab of its own."),
    )
    instructions_text = forms.CharField(
        label=gettext_lazy("Text"),
        required=False,
        max_length=100_000,
        widget=forms.Textarea(attrs={"rows": 14}),
        help_text=gettext_lazy(
            "Labelers read it before their first page, and whenever they press G. **bold**, *italic*, # title, - list, "
            "![picture](https://…)"
        ),
    )


class AssistForm(ConsoleForm):
    """ML assisted labeling: whether, where, and what it promises."""

    enabled = forms.BooleanField(
        label=gettext_lazy("Let a model help"),
        help_text=gettext_lazy(
            "A model learns from the labels that people give. First it puts alike images on one page; once it is "
            "sure enough, it fills labels in, and people confirm or change them. Nothing is labeled by it alone."
        ),
        required=False,
    )
    device = forms.ChoiceField(label=gettext_lazy("Device"), required=False)
    target_percent = forms.DecimalField(
        label=gettext_lazy("Right at least"),
        initial=95,
        required=False,
        decimal_places=1,
        validators=[MinValueValidator(50), MaxValueValidator(99.9)],
        help_text=gettext_lazy(
            # xgettext:no-python-format
            "Of all labels that are confirmed as they were filled in, at least so many are right, with 95 % "
            "confidence. Higher: fewer images are filled in."
        ),
    )
    min_labels = forms.IntegerField(
        label=gettext_lazy("First training after"),
        initial=100,
        required=False,
        min_value=10,
        max_value=1_000_000,
        help_text=gettext_lazy("It trains again by itself as labels grow."),
    )
    threshold = forms.DecimalField(
        label=gettext_lazy("Fixed threshold"),
        required=False,
        min_value=0,
        max_value=1,
        help_text=gettext_lazy(
            "Empty: the lowest confidence at which the promise holds is found by itself. With a fixed one there is "
            "no promise; the measured error is shown instead."
        ),
    )
    network = forms.ChoiceField(
        label=gettext_lazy("Network"),
        choices=Project.Network.choices,
        initial=Project.Network.MOBILENET_V2,
        required=False,
        help_text=gettext_lazy(
            "Larger ones see more and take longer. For boxes, MobileNetV2 is the fast detector, ResNet-50 the strong "
            "one. Pretrained weights are used where they are; each run says which."
        ),
    )
    training = forms.ChoiceField(
        label=gettext_lazy("Training"),
        choices=Project.Training.choices,
        initial=Project.Training.AUTOMATIC,
        required=False,
        help_text=gettext_lazy(
            "A fine-tuned network is used only where it is right more often on images that it has not seen. "
            "Classification only: a detector always learns as a whole."
        ),
    )
    clustering = forms.BooleanField(
        label=gettext_lazy("Put alike images on one page"),
        initial=True,
        required=False,
        help_text=gettext_lazy("Then one key answers most of a page. Classification only."),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        found = devices.choices()
        self.fields["device"].choices = found  # type: ignore[attr-defined]
        if len(found) == 1:
            words = _("There is no GPU here. On the CPU it works too, slower; an operator may set ASSIST_DEVICES.")
            self.fields["device"].help_text = words

    def clean(self) -> dict[str, Any]:
        """Return the keyword arguments that create_project() takes as ``assist``."""
        data = super().clean() or self.cleaned_data
        data["assist"] = {"enabled": bool(data.get("enabled"))}
        if data.get("enabled"):
            data["assist"]["device"] = data.get("device") or ""
            if data.get("target_percent") is not None:
                data["assist"]["target_precision"] = float(data["target_percent"]) / 100
            if data.get("min_labels") is not None:
                data["assist"]["min_labels"] = data["min_labels"]
            data["assist"]["threshold"] = float(data["threshold"]) if data.get("threshold") is not None else None
            data["assist"]["network"] = data.get("network") or Project.Network.MOBILENET_V2
            data["assist"]["training"] = data.get("training") or Project.Training.AUTOMATIC
            data["assist"]["clustering"] = bool(data.get("clustering"))
        return data

    @classmethod
    def of(cls, project: Project) -> AssistForm:
        """Return the form with a project's settings."""
        return cls(
            initial={
                "enabled": project.assist_enabled,
                "device": project.assist_device,
                "target_percent": f"{100 * project.assist_target:g}",
                "min_labels": project.assist_min_labels,
                "threshold": project.assist_threshold,
                "network": project.assist_network,
                "training": project.assist_training,
                "clustering": project.assist_clustering,
            }
        )


# --- Datastores and datasets ---------------------------------------------------------------------------


class DatastoreForm(forms.ModelForm):
    """A place that holds images, with the fields that its kind has.

    The secret can be written and is never shown (SPEC D1).
    """

    OPTIONS = {"azure": ["account", "endpoint"], "s3": ["endpoint", "region", "access_key"], "gcs": ["endpoint"]}

    account = forms.CharField(label=gettext_lazy("Storage account"), max_length=24, required=False)
    endpoint = forms.CharField(
        label=gettext_lazy("Endpoint"),
        max_length=300,
        required=False,
        help_text=gettext_lazy("Empty: the provider's own. Otherwise as “https://storage.example.com”."),
    )
    region = forms.CharField(label=gettext_lazy("Region"), max_length=40, required=False)
    access_key = forms.CharField(label=gettext_lazy("Access key"), max_length=200, required=False)
    secret = forms.CharField(
        label=gettext_lazy("Secret"),
        required=False,
        strip=True,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )
    signed_urls = forms.BooleanField(
        label=gettext_lazy("Browsers fetch original files from the store itself, by signed addresses"),
        help_text=gettext_lazy("Switch it off where browsers can't reach the store: the site then hands them on."),
        required=False,
        initial=True,
    )

    class Meta:
        model = Datastore
        fields = ["name", "kind", "container", "prefix"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for bound in self.fields.values():
            if not isinstance(bound.widget, PLAIN):
                bound.widget.attrs["class"] = "input"
        for name in ("container", "prefix", "account", "endpoint", "region", "access_key"):
            self.fields[name].widget.attrs |= {"class": "input mono", "spellcheck": "false", "autocomplete": "off"}
        for name, value in (self.instance.options or {}).items():
            if name in self.fields:
                self.initial[name] = value
        self.fields["prefix"].help_text = _("Only what lies below this folder of it. Empty: all of it.")
        has_secret = bool(self.instance.encrypted_secret)
        self.fields["secret"].help_text = (
            _("A secret is kept, encrypted. Empty: it stays as it is.")
            if has_secret
            else _("It is kept encrypted and never shown. Empty: the container is read as anybody may.")
        )

    def clean(self) -> dict[str, Any]:
        """Put the options and the secret where the model's own checks look for them."""
        data = super().clean() or self.cleaned_data
        kind = data.get("kind", "")
        known = {name for names in self.OPTIONS.values() for name in names} | {"signed_urls"}
        options = {name: value for name, value in (self.instance.options or {}).items() if name not in known}
        options |= {name: data[name] for name in self.OPTIONS.get(kind, ()) if data.get(name)}
        if kind in self.OPTIONS and not data.get("signed_urls"):
            options["signed_urls"] = False
        self.instance.options = options
        if data.get("secret"):
            self.instance.secret = data["secret"]
        return data


class DatasetForm(forms.ModelForm):
    """The images of a datastore that a path finds."""

    class Meta:
        model = Dataset
        fields = ["name", "datastore", "pattern", "description"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for bound in self.fields.values():
            bound.widget.attrs["class"] = "input"
        self.fields["pattern"].widget.attrs |= {"class": "input mono", "spellcheck": "false", "autocomplete": "off"}
        self.fields["datastore"].empty_label = None  # type: ignore[attr-defined]
        self.fields["description"].widget.attrs["rows"] = 3

    def offer_to(self, user: Person) -> Self:
        """Offer the datastores that this person may use, and the one that the dataset is in (SPEC R3)."""
        present = self.instance.datastore_id
        _narrow(self.fields, user, "datastore")
        if present:
            field = cast(forms.ModelChoiceField, self.fields["datastore"])
            field.queryset = Datastore.objects.usable_by(user) | Datastore.objects.filter(pk=present)
        return self


def _narrow(fields: dict[str, forms.Field], user: Person, *names: str) -> None:
    """Offer in these fields only the rows that the person may use."""
    for name in names:
        field = cast(forms.ModelChoiceField, fields[name])
        field.queryset = cast(DatastoreQuerySet | DatasetQuerySet, field.queryset).usable_by(user)


def folder_for(name: str, number: str) -> str:
    """Return the folder that uploads go to when nobody chose one."""
    return f"uploads/{slugify(name) or 'images'}-{number}"

from django.db import migrations, models
from django.db.models import Exists, OuterRef

# Until now a restart ended all labels, and a restore read from the history what each task had been. The last event of
# each of a project's tasks:
LAST_EVENTS = {
    "postgresql": """
        SELECT DISTINCT ON (task_id) id, task_id, action, page_id, kind, at, detail FROM labeling_labelevent
        WHERE project_id = %s AND task_id IS NOT NULL ORDER BY task_id, id DESC""",
    "sqlite": """
        SELECT event.* FROM (
            SELECT MAX(id) AS id FROM labeling_labelevent
            WHERE task_id IN (SELECT id FROM labeling_labeltask WHERE project_id = %s) GROUP BY task_id
        ) last JOIN labeling_labelevent event ON event.id = last.id""",
}
IS_GIVEN = "event.action IN ('submitted', 'corrected', 'imported', 'skipped')"
GIVEN = """
    FROM labeling_labelevent given WHERE given.task_id = event.task_id
    AND given.action IN ('submitted', 'corrected', 'imported', 'skipped') ORDER BY given.id DESC LIMIT 1
"""
# What nobody has touched since a restart, and what it was: the restart's event comes after the task's last one, and
# after all others that are given.
REMEMBER = f"""
    UPDATE labeling_labeltask SET aside_by = %s, aside_at = answer.at,
           aside_kind = COALESCE(NULLIF(answer.kind, ''), labeling_labeltask.kind),
           aside_status = CASE
               WHEN answer.action = 'restored' THEN answer.back
               WHEN answer.action = 'skipped' THEN 'skipped'
               WHEN answer.action = 'flagged' THEN 'needs_review'
               WHEN answer.action = 'approved' OR (answer.action = 'corrected' AND answer.page_id IS NULL)
               THEN 'approved' ELSE 'labeled' END
    FROM (
        SELECT event.task_id, event.action, event.page_id, event.detail ->> 'to' AS back,
               CASE WHEN {IS_GIVEN} THEN event.at ELSE (SELECT given.at {GIVEN}) END AS at,
               CASE WHEN {IS_GIVEN} THEN event.kind ELSE (SELECT given.kind {GIVEN}) END AS kind
        FROM ({{last_events}}) event
        WHERE event.id > %s AND event.id < %s
          AND (event.action IN ('submitted', 'corrected', 'imported', 'approved', 'flagged', 'skipped')
               OR (event.action = 'restored' AND event.detail ->> 'to' <> 'removed'))
    ) answer
    WHERE labeling_labeltask.id = answer.task_id AND project_id = %s
"""  # noqa: S608


def standing_resets(apps, project):
    """Return the ids of the restarts that have not been restored, oldest first."""
    events = apps.get_model("labeling", "LabelEvent").objects.filter(project=project, task__isnull=True)
    resets = list(events.filter(action="reset").order_by("pk").values_list("pk", flat=True))
    if not resets:
        return []
    restored = events.filter(action="restored", pk__gt=resets[0]).values_list("detail", flat=True)
    return [pk for pk in resets if pk not in {detail.get("of") for detail in restored}]


def mark(apps, schema_editor):
    """Mark the projects, have tasks remember what they were, and labels that nobody has touched since not be ended."""
    annotations = apps.get_model("labeling", "Annotation").objects
    later = apps.get_model("labeling", "LabelEvent").objects.filter(
        task=OuterRef("task"), pk__gt=OuterRef("ended_by_event")
    )
    connection = schema_editor.connection
    remember = REMEMBER.format(last_events=LAST_EVENTS[connection.vendor])
    for project in apps.get_model("projects", "Project").objects.all():
        if not (resets := standing_resets(apps, project)):
            continue
        annotations.filter(~Exists(later), ended_by_event__in=resets).update(ended_by_event=None)
        type(project).objects.filter(pk=project.pk).update(aside_up_to=resets[-1])
        with connection.cursor() as cursor:
            for floor, reset in zip([0, *resets], resets):
                cursor.execute(remember, [reset, project.pk, floor, reset, project.pk])


def end(apps, schema_editor):
    """End by the restarts again what they set aside, the labels of before the first one first."""
    annotations = apps.get_model("labeling", "Annotation").objects
    for project in apps.get_model("projects", "Project").objects.filter(aside_up_to__gt=0):
        for reset in standing_resets(apps, project):
            tasks = apps.get_model("labeling", "LabelTask").objects.filter(project=project)
            aside = annotations.filter(task__in=tasks.values("pk"), ended_by_event__isnull=True)
            aside.filter(created_by_event__lt=reset).update(ended_by_event=reset)


class Migration(migrations.Migration):

    dependencies = [
        ('labeling', '0013_indexes_that_pay'),
        ('projects', '0006_project_aside_up_to'),
    ]

    operations = [
        migrations.AddField(
            model_name='labeltask',
            name='aside_by',
            field=models.BigIntegerField(blank=True, editable=False, null=True),
        ),
        migrations.AddField(
            model_name='labeltask',
            name='aside_status',
            field=models.CharField(blank=True, editable=False, max_length=12, null=True),
        ),
        migrations.AddField(
            model_name='labeltask',
            name='aside_kind',
            field=models.CharField(blank=True, editable=False, max_length=10, null=True),
        ),
        migrations.AddField(
            model_name='labeltask',
            name='aside_at',
            field=models.DateTimeField(blank=True, editable=False, null=True),
        ),
        migrations.RunPython(mark, end),
    ]

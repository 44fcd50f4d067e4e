from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('projects', '0005_assist_training'),
    ]

    operations = [
        migrations.AddField(
            model_name='project',
            name='aside_up_to',
            field=models.BigIntegerField(default=0, editable=False),
        ),
    ]

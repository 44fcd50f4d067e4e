"""What learns: functions on arrays, without Django and without a database.

torch is imported by backbones, finetune and detector alone; the other modules need numpy, scipy and scikit-learn.
"""

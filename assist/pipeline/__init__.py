"""What learns: functions on arrays, without Django and without a database.

torch is imported by weights, backbones, finetune and detector alone; the others need numpy, scipy, scikit-learn and
pycocotools, and policy nothing.
"""

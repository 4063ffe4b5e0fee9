"""Training: from-scratch pretraining of the synthetic world's model, supervised fine-tuning, Direct Preference Optimization.

One training loop on DeepSpeed serves the three objectives. The mathematics (`losses`, `preferences`, `schedule`) knows
nothing of files, models or DeepSpeed; the stages (`pretrain`, `train`) know nothing of mathematics.
"""

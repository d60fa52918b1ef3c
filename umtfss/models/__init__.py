"""Meta-learners: few-shot segmenters on frozen features."""

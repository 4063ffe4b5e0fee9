"""Confidence scoring: sampling, atomic questions, entities, equivalence, rewards, evaluation and report."""

"""Full-ranking evaluation: ranks, metrics, intervals and reports."""

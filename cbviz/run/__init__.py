"""What runs engines to find something out: race, playground, bench, schedule, why."""

from cbviz.models import quiet_imports as quiet_imports  # before anything imports transformers

"""Prints what TensorBoard reads from the event files of a run: a line of JSON for each scalar, tag, step, value."""

import json
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

events = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0})
events.Reload()
for tag in events.Tags()["scalars"]:
    for scalar in events.Scalars(tag):
        print(json.dumps([tag, scalar.step, scalar.value]))

"""What cannot be asked again of a checkpoint alone is said to be left out."""

from __future__ import annotations

import random
from typing import cast

from judging_world import accuracy, artifact, attacked, share
from weighbridge.assemble import Workbench
from weighbridge.remeasure import remeasure


def test_attacked_models_and_artifacts_are_left_out_and_said_to_be() -> None:
    source = accuracy(0.5)
    records = [attacked("lora", share(0.1), "lora"), artifact("Q8_0", source, share(0.5, field="accuracy"))]
    no_bench = cast(Workbench, None)  # nothing is asked, so nothing is needed
    left_out = remeasure(no_bench, records, 3, random.Random(1))
    assert [one.asked for one in left_out] == [0, 0]
    assert "attacked" in (left_out[0].why_not or "")
    assert "another file" in (left_out[1].why_not or "")

"""Two processes with parts of a batch against one with the whole of it: the trainer itself.

(`test_objectives_distributed` shows the same of each objective by itself, in float64.)
"""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
import torch

from tests.support.environment import patient
from tests.train.faulty import gradients
from tests.train.launch import CONFIGS, Job

ROOT = CONFIGS.parents[1]
#: Of the recipe for a first look, step 1; README shows them.
FIRST_LOSS = 10.06
CASES = [("local", "ddp"), ("global", "ddp"), ("local", "fsdp")]


@pytest.fixture(scope="module")
def one_process(tmp_path_factory):
    found = {}
    for form in ("local", "global"):
        folder = tmp_path_factory.mktemp(form)
        (ended,) = Job(folder, gradients, folder, form, "ddp").wait()
        assert ended.code == 0, ended
        found[form] = torch.load(folder / f"{form}-ddp-1.pt")
    return found


@pytest.mark.parametrize(("form", "parallel"), CASES)
def test_two_ranks_equal_one_process(tmp_path, one_process, form, parallel):
    """All objectives on; losses, gradients of all parameters, and figures of the evaluation."""
    ended = Job(tmp_path, gradients, tmp_path, form, parallel, ranks=2).wait()
    assert [e.code for e in ended] == [0, 0], ended
    two, one = torch.load(tmp_path / f"{form}-{parallel}-2.pt"), one_process[form]
    assert one["losses"].keys() == {"loss", "gc", "bsr", "mlm", "pda", "go"}
    assert two["losses"] == pytest.approx(one["losses"], rel=1e-5)
    assert one["gradients"].keys() == two["gradients"].keys()
    for name, gradient in one["gradients"].items():
        scale = float(gradient.abs().max())
        # The bias of keys moves no attention.
        assert scale > 1e-7 or "key" in name or "embeddings" in name, name
        error = float((two["gradients"][name] - gradient).abs().max())
        assert error <= 2e-5 * scale + 1e-6, name
    assert two["figures"] == pytest.approx(one["figures"], rel=1e-4)


def test_both_forms_of_the_contrast_are_the_same(one_process):
    local, everything = one_process["local"], one_process["global"]
    assert local["losses"] == pytest.approx(everything["losses"], rel=1e-6)
    for name, gradient in local["gradients"].items():
        torch.testing.assert_close(everything["gradients"][name], gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.full
def test_torchrun_starts_the_recipe_for_a_first_look(tmp_path):
    """The command of the README, cut short; nothing but the checkout is needed."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--master-port", "0", "--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0"]
    command += ["-m", "train.pretrain", "--config", "train/configs/debug.toml"]
    command += ["--run-dir", str(tmp_path / "run"), "--stop-at", "1"]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
        capture_output=True,
        text=True,
        timeout=patient(60),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (loss,) = re.findall(r"step 1 \(2 %\): loss (\S+)", done.stderr)
    assert float(loss) == pytest.approx(FIRST_LOSS, abs=0.02)
    assert (tmp_path / "run" / "step-00000001").is_dir()

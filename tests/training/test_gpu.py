"""The same training on a GPU: run with `pytest -m gpu` where there is one."""

import pytest
import torch

import resnets

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU"),
    pytest.mark.filterwarnings("ignore::UserWarning"),  # torch's advice
]


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_digits_are_learnt_in_every_precision(tmp_path, precision):
    run = resnets.train(
        "digits", arch="resnet8", epochs=30, device="cuda", precision=precision, out=tmp_path / "run", display=list
    )
    assert run.info["results"]["test"]["top1"] > 90
    assert run.evaluate(device="cpu").top1 == pytest.approx(run.info["results"]["test"]["top1"], abs=1)


def test_deterministic_runs_agree_bit_for_bit(tmp_path):
    digests = {
        resnets.train(
            "digits", arch="resnet8", epochs=2, device="cuda", deterministic=True, out=tmp_path / str(k), display=list
        ).info["weights"]["sha256"]
        for k in range(2)
    }
    assert len(digests) == 1

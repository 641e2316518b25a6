"""Autoencoders and a WGAN trained in full on mnist5k: the figures of the gallery."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlspec.api import load
from dlspec.resources import resources
from dlspec.training.run import Result, train

SPECS = resources("specs") / "generative"
PACKAGES = {"numpy": "numpy", "torch": "torch", "jax": "optax"}
BACKENDS = list(PACKAGES)


def run(folder: Path, spec: str, section: str, backend: str = "torch", **static: object) -> Result:
    pytest.importorskip("mlxtend")
    pytest.importorskip(PACKAGES[backend])
    trainer = load(SPECS / f"{spec}.dls").trainer(section, **static)
    return train(trainer, backend, run_dir=folder)


def figures(
    folder: Path, spec: str, section: str, backend: str = "torch", **static: object
) -> dict[str, float]:
    """Of the test part, after the last epoch."""
    found = run(folder, spec, section, backend, **static)
    return (found.phases[-1] if found.phases else found).final["test"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_plain(tmp_path: Path, backend: str) -> None:
    assert figures(tmp_path, "autoencoder", "digits", backend)["loss"] <= 0.0145


def test_compression(tmp_path: Path) -> None:
    """784 numbers as 8, 16 or 64: the fewer, the worse."""
    errors = [
        figures(tmp_path / str(code), "autoencoder", "digits", code=code)["loss"]
        for code in (8, 16, 64)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] <= 0.032
    assert errors[2] <= 0.012


@pytest.mark.parametrize(("section", "error"), [("deep", 0.022), ("maps", 0.006)])
def test_deep_and_convolutional(tmp_path: Path, section: str, error: float) -> None:
    assert figures(tmp_path, "autoencoder", section)["loss"] <= error


@pytest.mark.parametrize(("digit", "auc"), [(0, 0.98), (1, 0.99), (7, 0.95)])
def test_anomalies_are_restored_badly(tmp_path: Path, digit: int, auc: float) -> None:
    assert figures(tmp_path, "autoencoder", "anomaly", digit=digit)["auc"] >= auc


@pytest.mark.parametrize("section", ["gaussian", "masking"])
def test_denoising(tmp_path: Path, section: str) -> None:
    found = figures(tmp_path, "denoising_autoencoder", section)
    assert found["loss"] <= 0.021
    assert found["damage"] >= 0.05


@pytest.mark.parametrize("backend", BACKENDS)
def test_sparse_by_divergence(tmp_path: Path, backend: str) -> None:
    found = figures(tmp_path, "sparse_autoencoder", "kl", backend)
    assert found["error"] <= 0.014
    assert found["activity"] <= 0.07  # the target is 0.05
    assert found["active"] <= 0.2


def test_a_plain_code_is_not_sparse(tmp_path: Path) -> None:
    plain = figures(tmp_path / "plain", "sparse_autoencoder", "kl", weight=0)
    assert plain["active"] >= 0.7
    assert plain["error"] <= 0.005


def test_sparse_by_l1(tmp_path: Path) -> None:
    plain = figures(tmp_path / "plain", "sparse_autoencoder", "l1", weight=0)
    sparse = figures(tmp_path / "sparse", "sparse_autoencoder", "l1")
    assert sparse["error"] <= 0.006
    assert sparse["active"] <= 0.6 * plain["active"]
    assert sparse["activity"] <= 0.3 * plain["activity"]


def test_sparse_features_help_a_classifier_with_few_labels(tmp_path: Path) -> None:
    code = figures(tmp_path / "code", "sparse_autoencoder", "few_labels")
    pixels = figures(tmp_path / "pixels", "sparse_autoencoder", "pixels")
    assert code["accuracy"] >= 0.74
    assert pixels["accuracy"] <= 0.72


@pytest.mark.parametrize("backend", BACKENDS)
def test_contracted(tmp_path: Path, backend: str) -> None:
    found = figures(tmp_path, "contractive_autoencoder", "closed", backend)
    assert found["penalty"] <= 11  # plain: above 15, see below
    assert found["error"] <= 0.034


def test_a_plain_code_is_not_contracted(tmp_path: Path) -> None:
    found = figures(tmp_path, "contractive_autoencoder", "closed", strength=0)
    assert found["penalty"] >= 15
    assert found["error"] <= 0.03


def test_the_jacobian_contracts_as_the_formula_does(tmp_path: Path) -> None:
    by_grad = figures(tmp_path / "grad", "contractive_autoencoder", "jacobian", epochs=3)
    closed = figures(tmp_path / "closed", "contractive_autoencoder", "closed", epochs=3)
    for name, value in closed.items():
        assert by_grad[name] == pytest.approx(value, rel=1e-3), name


@pytest.mark.parametrize("backend", BACKENDS)
def test_variational(tmp_path: Path, backend: str) -> None:
    found = figures(tmp_path, "vae", "digits", backend)
    assert found["loss"] <= 116  # nats: a bound of -log p
    assert found["error"] <= 0.0140
    assert len(list((tmp_path / "samples").glob("walk-*.png"))) == 30


def test_convolutional_variational(tmp_path: Path) -> None:
    found = figures(tmp_path, "conv_vae", "digits")
    assert found["loss"] <= 170
    assert found["error"] <= 0.05


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")  # 30 passes are enough for a judge
def test_wgan_gp_paints_all_digits(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    from tests.e2e.judge import judge

    found = judge(run(tmp_path, "wgan_gp", "wgan_gp"))
    assert found.fewest >= 80, found
    assert found.entropy >= 2.2
    assert found.sure >= 0.36

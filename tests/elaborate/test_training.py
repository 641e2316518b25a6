"""Training sections: fields from sources and declarations, settings, overrides, mistakes."""

from __future__ import annotations

from typing import Any

import pytest

from dlspec.api import SpecError, load
from dlspec.ir.graph import Training
from tests.elaborate.specs import checked, problems

MODEL = "model M(x: [N, 4], classes = 3) = x -> dense(classes)\n"


def section(*lines: str, params: str = "") -> str:
    body = "\n".join(f"  {line}" for line in lines)
    return f"{MODEL}train t{params} {{\n{body}\n}}\n"


DATA = "data (x, label) from iris(batch = 16)"
LOSS = "minimize cross_entropy(M(x), label) using sgd(0.1)"
SECOND = ("data (y, _) from iris(batch = 16)", "report mean(y)")


def training(text: str, **static: Any) -> Training:
    return load(text).trainer("t", **static).training


def test_fields_take_their_types_from_the_source() -> None:
    found = training(section(DATA, LOSS))
    assert [str(v.type) for v in found.data[0].fields] == ["[N, 4]", "i64[N]"]
    assert found.data[0].args["batch"] == 16


def test_fields_may_be_declared() -> None:
    text = section("data (x: [N, D], label: i64[N]) from iris(batch = 8)", LOSS)
    assert [str(v.type) for v in training(text).data[0].fields] == ["[N, 4]", "i64[N]"]
    text = section('data (x, label) from npz("a.npz", fields = ["x", "label"])', LOSS)
    assert [c for c, _ in problems(text)] == ["E0503"]
    text = section(
        'data (x: [N, 4], label: i64[N]) from npz("a.npz", fields = ["x", "label"])', LOSS
    )
    assert problems(text) == []


def test_a_field_nobody_needs() -> None:
    text = section("data (x, _) from iris", "minimize mse(M(x, 4), x) using adam")
    assert problems(text) == []
    found = training(text)
    assert (found.minimize[0].optimizer, found.minimize[0].settings["lr"]) == ("adam", 1e-3)
    text = section("data (x, y) from iris", "minimize mse(M(x, 4), x) using adam")
    assert problems(text) == [("W0901", "y")]


def test_parameters_and_settings_are_overridden() -> None:
    text = section(
        "data (x, label) from iris(batch = size)",
        "minimize cross_entropy(M(x), label) using sgd(rate)",
        "epochs 7",
        params="(rate = 0.1, size = 16)",
    )
    found = training(text)
    assert found.settings == {"epochs": 7}
    found = training(text, epochs=2, seed=3, rate=0.5, size=4)
    assert found.settings == {"epochs": 2, "seed": 3}
    assert found.minimize[0].settings["lr"] == 0.5
    assert found.data[0].args["batch"] == 4
    with pytest.raises(SpecError, match="no setting `epoch`"):
        training(text, epoch=2)
    with pytest.raises(SpecError, match="at least 1"):
        training(text, epochs=0)


def test_reports_and_evaluations() -> None:
    found = training(
        section(
            DATA,
            "logits = M(x)",
            "minimize cross_entropy(logits, label) using sgd(0.1)",
            "report accuracy(logits, label), mean(logits) as level",
            'evaluate on iris(split = "test")',
            'evaluate again on iris(split = "test", batch = 5)',
        )
    )
    assert [name for name, _, _ in found.reports] == ["accuracy", "level"]
    assert [name for name, _ in found.evaluations] == ["test", "again"]
    assert found.function.output_names == ("loss", "accuracy", "level")


def test_schedules() -> None:
    text = section(DATA, LOSS.replace("sgd(0.1)", "sgd(cosine(0.1, warmup = 5), momentum = 0.9)"))
    (found,) = training(text).minimize
    assert found.schedule is not None and found.schedule["kind"] == "cosine"
    assert found.settings["momentum"] == 0.9


def test_minimize_over_a_shared_network() -> None:
    text = section(
        DATA,
        "share net = M()",
        "minimize cross_entropy(net(x), label) over net using sgd(0.1)",
    )
    found = training(text)
    assert found.minimize[0].over == ()  # all there is


def test_sections_with_different_parameters_do_not_meet() -> None:
    text = section(DATA, LOSS) + "train u {\n  " + DATA + "\n  " + LOSS + "\n  epochs 3\n}\n"
    assert load(text).trainer("u").training.settings == {"epochs": 3}
    assert problems(text) == []


@pytest.mark.parametrize(
    ("lines", "code", "blamed"),
    [
        (("minimize mean(M(normal([3, 4]))) using sgd(0.1)",), "E0504", "t"),
        ((DATA, 'report mean(x), mean(cast(label, "float")) as m'), "E0504", "t"),
        (("data (x, label) from iris", "data (_, _) from iris", LOSS), "E0504", None),
        (("data (x, label) from iris", "data (x, _) from iris", LOSS), "E0202", "x"),
        (("data (x, label) from iris(batch = 9)", *SECOND, LOSS), "E0503", None),
        ((DATA, LOSS, "sample"), "E0504", "sample"),
        ((DATA, LOSS, "sample 3"), "E0401", "3"),
        ((DATA, LOSS, "sample x, x"), "E0202", "x"),
        ((DATA, f"step a {{ {LOSS}\n sample x }}"), "E0504", "sample"),
        ((DATA, LOSS, "evaluate on iris, iris"), "E0504", "evaluate"),
        ((DATA, *SECOND, LOSS, "evaluate on iris"), "E0504", "evaluate"),
        ((DATA, *SECOND, LOSS, "evaluate on iris, digits"), "E0503", "digits"),
        (("data x, label from iris(batch = 0)", LOSS), "E0503", "iris(batch = 0)"),
        (("data x, label from iris(batches = 2)", LOSS), "E0503", "iris(batches = 2)"),
        (("data x, x from iris", "minimize mse(M(x), x) using sgd(1)"), "E0202", "x"),
        ((DATA, LOSS, "minimise 3"), "E0501", "minimise"),
        ((DATA, LOSS, "epochs"), "E0501", "epochs"),
        ((DATA, LOSS, "epochs 1.5"), "E0501", "1.5"),
        ((DATA, LOSS, "epochs 2", "steps 3"), "E0501", "t"),
        ((DATA, LOSS, "ema 1.9"), "E0501", "1.9"),
        ((DATA, LOSS, "step a { x = 3 }"), "E0504", "step"),
        ((DATA, f"step a {{ {LOSS} }}", f"step a {{ {LOSS} }}"), "E0202", "a"),
        ((DATA, f"step a times 0 {{ {LOSS} }}"), "E0501", "times 0"),
        ((DATA, f"step a {{ {LOSS}; {LOSS} }}".replace("; ", "\n")), "E0504", None),
        ((DATA, f"step a {{ {LOSS} }}", LOSS), "E0504", "minimize"),
        ((DATA, LOSS.replace("sgd(0.1)", "sdg(0.1)")), "E0201", "sdg"),
        ((DATA, LOSS.replace("sgd(0.1)", "sgd")), "E0205", "sgd"),
        ((DATA, LOSS.replace("sgd(0.1)", "sgd(-1)")), "E0204", "-1"),
        ((DATA, LOSS.replace("sgd(0.1)", "sgd(0.1, momentum = 2)")), "E0204", "2"),
        ((DATA, LOSS.replace("sgd(0.1)", "sgd(0.1, nesterov = 1)")), "E0204", "1"),
        ((DATA, LOSS.replace("sgd", "sgd(0.1, lr = 0.2) on ")), "E0504", None),
        (
            (DATA, "minimize M(x) using sgd(0.1)", 'report mean(cast(label, "float"))'),
            "E0301",
            "M(x)",
        ),
        ((DATA, 'minimize mean(cast(label, "float") * x[:, 0]) using sgd(0.1)'), "E0502", None),
        ((DATA, LOSS, "report x"), "E0301", "x"),
        ((DATA, LOSS, "report mean(x), mean(x)"), "E0202", "mean(x)"),
        ((DATA, LOSS, "evaluate on mnist5k"), "E0503", "mnist5k"),
        ((DATA, LOSS, "return x"), "E0504", "x"),
        ((DATA, LOSS, "assert 1 > 0"), "E0504", "assert 1 > 0"),
        ((DATA, LOSS + " using adam"), "E0504", "using sgd(0.1)"),
        ((DATA, LOSS + " from iris"), "E0504", "from iris"),
    ],
)
def test_mistakes(lines: tuple[str, ...], code: str, blamed: str | None) -> None:
    found = problems(section(*lines))
    assert [c for c, _ in found] == [code], found
    if blamed is not None:
        assert found[0][1] == blamed


def test_a_batch_of_one_and_batch_norm() -> None:
    text = """
    block Head(x: [N, D]) = x -> batch_norm -> dense(3)
    model Net(x: [N, 4]) = x -> dense(8) -> Head
    train t {
      data (x, label) from iris(batch = 1)
      minimize cross_entropy(Net(x), label) using sgd(0.1)
    }
    """
    assert problems(text) == [("E0309", "batch_norm")]
    assert problems(text.replace("batch = 1", "batch = 2")) == []


def test_losses_that_get_the_wrong_kind_of_value() -> None:
    text = """
    block Probabilities(x: [N, D]) = x -> dense(3) -> softmax
    block Loss(p: [N, K], label: i64[N]) = cross_entropy(p, label)
    train t {
      data (x, label) from iris(batch = 4)
      share net = Probabilities()
      minimize Loss(net(x), label) using sgd(0.1)
    }
    """
    assert problems(text) == [("W0902", "cross_entropy(p, label)")]


def test_a_spec_that_fails_keeps_failing() -> None:
    spec = checked(section(DATA, LOSS.replace("M(x)", "x -> dense")))
    with pytest.raises(SpecError):
        spec.trainer()


def test_tests_of_a_spec_run() -> None:
    spec = load(
        "model M(x: [N, 4]) = x -> dense(2)\n" + 'test "size" { assert params(M()) == 10 }\n'
    )
    assert spec.test() == 1 and spec.diagnostics.ok
    spec = load(
        "model M(x: [N, 4]) = x -> dense(2)\n" + 'test "size" { assert params(M()) == 11 }\n'
    )
    assert spec.test() == 0
    (found,) = spec.diagnostics.found
    assert found.code.name == "E0405"
    assert found.notes == ("the left side is 10, the right side is 11",)


def test_what_a_test_may_hold() -> None:
    head = "model M(x: [N, 4]) = x -> dense(2)\n"
    assert problems(head + 'test "a" { return 3 }\n') == [("E0401", "return 3")]
    assert problems(head + 'test "a" { n = 3 }\n') == [("W0901", "n")]
    assert [c for c, _ in problems(head + 'test "a" { assert params(m()) == 3 }\n')] == ["E0201"]

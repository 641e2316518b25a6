"""Golden pictures, text inside boxes, hostile names.

DLSPEC_BLESS=1 pytest tests/render      # write the golden files anew; then look at them
"""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import pytest

from dlspec.ir.dims import Dim
from dlspec.ir.graph import Function, Value
from dlspec.ir.types import DType, TensorType
from dlspec.ops.activations import Relu
from dlspec.ops.build import FunctionBuilder
from dlspec.render import draw
from dlspec.render.display import Path as Line
from dlspec.render.display import Polygon, Rect, Text
from dlspec.render.fonts import FILES, HERE, face, fitted
from dlspec.render.scene import scene
from dlspec.render.svg import to_svg
from dlspec.render.view import view
from dlspec.summary import summarise
from tests.render.pictures import NETS, Area, function_of

GOLDEN = Path(__file__).parent / "golden"
SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = 'x"><script>alert(1)</script>&amp;\x00\ud800]]> --> end\n"; }'


@pytest.mark.parametrize("name", ["lenet5", "resnet18", "unet"])
def test_golden(name: str) -> None:
    function = function_of(name)
    got = to_svg(scene(view(summarise(function))), function.name, fonts=False)
    path = GOLDEN / f"{name}.svg"
    if os.environ.get("DLSPEC_BLESS"):
        path.write_text(got, encoding="utf-8")
    assert got == path.read_text(encoding="utf-8"), f"{path} differs"


@pytest.mark.parametrize("name", NETS)
def test_text_is_inside_its_box(name: str) -> None:
    display = scene(view(summarise(function_of(name)), None))
    boxes: dict[object, list[Area]] = {}
    for shape in display.shapes:
        if isinstance(shape, Rect) and shape.tag is not None:
            area = Area(shape.x, shape.y, shape.x + shape.width, shape.y + shape.height)
            boxes.setdefault(shape.tag, []).append(area)
    page = Area(0, 0, display.width, display.height)
    texts: dict[object, list[Area]] = {}
    for shape in display.shapes:
        if not isinstance(shape, Text):
            continue
        area = _area(shape)
        assert page.holds(area), shape.text
        if shape.tag is not None and shape.tag.kind != "edge":
            assert any(b.holds(area) for b in boxes[shape.tag]), shape.text
            for other in texts.get(shape.tag, []):
                assert not other.overlaps(area), shape.text
            texts.setdefault(shape.tag, []).append(area)


def _area(text: Text) -> Area:
    width = face(text.weight).width(text.text, text.size)
    left = text.x - {"start": 0.0, "middle": 0.5, "end": 1.0}[text.anchor] * width
    return Area(left, text.y - 0.73 * text.size, left + width, text.y)


@pytest.mark.parametrize("name", NETS)
def test_svg_is_well_formed_with_unique_ids_and_nothing_from_outside(name: str) -> None:
    text = draw(function_of(name))
    root = ElementTree.fromstring(text)
    ids = Counter(e.get("id") for e in root.iter() if e.get("id"))
    assert max(ids.values()) == 1
    assert not re.search(r"(?:href|src)\s*=|url\((?!data:)", text)
    assert text.count("url(data:font/woff2;base64,") == 2
    assert text == draw(function_of(name))
    paths = {e.get("data-path") for e in root.iter(f"{SVG}g")}
    assert name != "unet" or "level.inner.down" in paths
    for node in root.iter(f"{SVG}text"):
        assert float(node.get("textLength", "0")) > 0


def test_numbers_are_rounded_to_a_tenth() -> None:
    root = ElementTree.fromstring(draw(function_of("gpt")))
    for element in root.iter():
        for key, value in element.attrib.items():
            assert key in ("data-path", "data-edge") or not re.search(r"\d\.\d\d", value), value


def hostile() -> Function:
    function = Function(HOSTILE, "model")
    kind = TensorType(DType.FLOAT, (Dim.symbol("N"), Dim.const(3)))
    function.inputs = (Value(kind, HOSTILE),)
    function.outputs = (FunctionBuilder(function).emit(Relu(), function.inputs[0]),)
    function.output_names = (HOSTILE,)
    return function


def test_hostile_names_are_text() -> None:
    root = ElementTree.fromstring(draw(hostile()).encode("utf-8", "strict"))
    tags = {e.tag.removeprefix(SVG) for e in root.iter()}
    assert tags <= {"svg", "title", "desc", "style", "g", "rect", "path", "polygon", "text"}
    titles = [e.text or "" for e in root.iter(f"{SVG}title")]
    assert any("<script>" in t for t in titles)


def test_metrics_are_those_of_the_font_files() -> None:
    fonttools = pytest.importorskip("fontTools.ttLib")
    for weight, name in FILES.items():
        font = fonttools.TTFont(HERE / f"{name}.ttf")
        em, advances = font["head"].unitsPerEm, font["hmtx"].metrics
        for code, glyph in font.getBestCmap().items():
            assert face(weight).width(chr(code), 1.0) == pytest.approx(advances[glyph][0] / em)
        assert "GPOS" not in font and "kern" not in font


def test_a_long_label_is_cut() -> None:
    assert fitted("a", 12, 100) == "a"
    cut = fitted("a" * 100, 12, 100)
    assert cut.endswith("…") and face("regular").width(cut, 12) <= 100


def test_png_has_ink_where_the_title_is() -> None:
    resvg = pytest.importorskip("resvg_py")
    image = pytest.importorskip("PIL.Image")
    from io import BytesIO

    fonts = [str(HERE / f"{name}.ttf") for name in FILES.values()]
    text = draw(function_of("lenet5"))
    data = resvg.svg_to_bytes(svg_string=text, font_files=fonts, skip_system_fonts=True)
    picture = image.open(BytesIO(bytes(data))).convert("L")
    assert picture.crop((24, 18, 90, 34)).getextrema()[0] < 80


def test_the_display_list_has_four_kinds_of_shape() -> None:
    shapes = scene(view(summarise(function_of("gpt")))).shapes
    assert {type(s) for s in shapes} == {Rect, Line, Polygon, Text}

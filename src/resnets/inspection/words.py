"""What an inspection says in words and figures: the same on a terminal, in a notebook and beside other networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resnets.architecture import ZOO, NetworkSpec
from resnets.inspection.field import Field

if TYPE_CHECKING:
    from resnets.inspection.inspect import Inspection
    from resnets.inspection.paths import Paths

_BARS = "▁▂▃▄▅▆▇█"
_PLAIN_BARS = "_.:-=+*#"  # for terminals without the others
_WRITTEN_OUT = 10**15  # numbers of paths from here on are given as powers
_NORMS = {"local-response": "local response normalisation", "none": "no normalisation"}


def facts(found: Inspection) -> list[tuple[str, str]]:
    """What a network is, as (label, text); `built of` only where its specification is known."""
    row = found.spec is not None and found.spec.unit == "linear" and found.trace.input_shape[:2] == (1, 1)
    thing = "row" if row else "image"  # of a table: an image of one line
    features = found.trace.input_shape[-1]
    what = f"a row of {features} features" if row else f"an image of {shape(found.trace.input_shape)}"
    field = found.receptive_field
    memory = found.memory
    rows = [
        ("depth", found.depth_sum),
        ("parameters", f"{found.parameters:,}"),
        ("multiply-adds", f"{multiply_adds(found)} for {what}"),
        (
            "activations",
            f"for one {thing} {size(memory['training'])} in training, at most {size(memory['inference'])} in inference",
        ),
        ("receptive field", _pixels(field["min"], field["max"])),
    ]
    if all(layer.field.whole for layer in found.layers):
        rows[-1] = ("receptive field", f"the whole {thing}")
    return rows if found.spec is None else [*rows, ("built of", built_of(found.spec))]


def reference(found: Inspection) -> str:
    """Where a network of the zoo was published, or nothing."""
    entry = ZOO.get(found.name)
    if entry is None or found.spec is None:
        return ""
    same = entry.spec == found.spec.replace(image_size=entry.spec.image_size)
    return entry.reference if same else ""


def multiply_adds(found: Inspection) -> str:
    """The exact number, and the short form that papers print: `3,663,761,408 (3.664 G)`."""
    number = found.multiply_adds
    return f"{number:,} ({short(number)})" if number >= 10**6 else f"{number:,}"


def short(number: int) -> str:
    """`3.664 G`, `40.6 M`, `140,544`."""
    if number >= 10**8:
        return f"{number / 1e9:.3f} G"
    return f"{number / 1e6:.1f} M" if number >= 10**6 else f"{number:,}"


def size(count: int) -> str:
    """Bytes: `30.7 MiB`, `588 KiB`, `40 B`."""
    value, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB"):
        if value < 999.5:
            break
        value, unit = value / 1024, larger
    return f"{value:.1f} {unit}" if value < 99.95 and unit != "B" else f"{value:.0f} {unit}"


def shape(dimensions: tuple[int, ...]) -> str:
    """`64x56x56`; a vector's is its length."""
    return "x".join(map(str, dimensions))


def span(field: Field) -> str:
    """A receptive field, smallest path to all together, in pixels: `11 to 899`; `all` is the image, `?` unknown."""
    if not field.known:
        return "?"
    if field.whole:
        return "all"
    return str(field.most) if field.least == field.most else f"{field.least} to {field.most}"


def _pixels(least: int | None, most: int | None) -> str:
    if least is None or most is None:
        return "not known: it holds operations whose field is not followed"
    if least == most:
        return f"{most} pixels across"
    return f"{least} to {most} pixels: by the smallest path, and by all together"


def built_of(spec: NetworkSpec) -> str:
    """Units, shortcuts, ordering, stem and normalisation of a specification, in words."""
    if spec.unit == "vgg":
        return "stages of 3x3 convolutions between 2x2/2 max-poolings, three fully connected layers, no shortcuts"
    words = [_units(spec), _shortcuts(spec), f"{spec.ordering} ordering", _stem(spec), norm(spec)]
    if spec.skip_layer:
        words.append("skip layer from the input to the logits")
    if spec.head == "max":
        words.append("global max-pooling")
    if spec.head == "flat":
        layers = ", ".join(str(outputs) for _, outputs in spec.head_layers())
        words.append(f"flat head of fully connected layers ({layers})")
    return "; ".join(words)


def _units(spec: NetworkSpec) -> str:
    words = {
        "basic": "basic units",
        "bottleneck": "bottleneck units",
        "pooled": "pooled units (3x3, 2x2/2 max-pooling, then a shortcut over one 3x3)",
        "linear": "units of two fully connected layers",
    }[spec.unit]
    if spec.unit == "bottleneck":
        words += f", stride in the {spec.stride_in}"
        words += f", 3x3 in {spec.groups} groups" if spec.groups > 1 else ""
    return words


def _shortcuts(spec: NetworkSpec) -> str:
    """Such as `shortcuts A (zero channels where the shape changes)`."""
    kind, matching = spec.shortcut.kind, spec.shortcut.matching
    if kind == "none" or spec.shortcut_units == ():
        return "no shortcuts"
    if spec.unit == "pooled":
        return "identity shortcuts"
    change = {
        "A": "zero channels where the shape changes",
        "B": "1x1 convolutions where the shape changes",
        "D": "average pooling and 1x1 convolutions where the shape changes",
    }[matching]
    if spec.unit == "linear" and matching == "B":
        change = "fully connected layers where the width changes"
    described = {
        "identity": f"{matching} ({change})",
        "projection": "C (1x1 convolutions on every unit)",
        "scaling": f"scaled ({spec.shortcut.scale:g} x + {spec.shortcut.residual_scale:g} F; {change})",
        "dropout": f"with dropout {spec.shortcut.rate:g} ({change})",
    }.get(kind, f"by {kind}, gate bias {spec.shortcut.gate_bias:g} ({change})")
    if spec.shortcut_units is None:
        return f"shortcuts {described}"
    return f"shortcuts {described} on {len(spec.shortcut_units)} of {spec.total_units} units"


def _stem(spec: NetworkSpec) -> str:
    if spec.unit == "linear":
        return "stem of one fully connected layer"
    widths = spec.stem_widths()
    if len(widths) > 1:
        return f"stem {', '.join('3x3' for _ in widths)} ({', '.join(map(str, widths))}), max-pool 3x3/2"
    if spec.stem == "patches":
        return "stem 2x2 without padding"
    return "stem 3x3" if spec.stem == "small" else "stem 7x7/2, max-pool 3x3/2"


def printable(name: str) -> str:
    """A name in one line: file names may hold line breaks and control characters."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in name)


def norm(spec: NetworkSpec) -> str:
    """`batch normalisation`."""
    return _NORMS.get(spec.norm, f"{spec.norm} normalisation")


def number_of_paths(paths: Paths) -> str:
    """`2^16 = 65,536` for 16 units, `2^600`, `262,144` without units, `1`."""
    count = paths.count
    exact = f"{count:,}"
    if paths.units > 1 and count == 2**paths.units:
        power = f"2^{paths.units}"
        return f"{power} = {exact}" if count < _WRITTEN_OUT else power
    if count < _WRITTEN_OUT:
        return exact
    digits = str(count)
    return f"about {digits[0]}.{digits[1]} x 10^{len(digits) - 1}"


def lengths_of_paths(paths: Paths) -> str:
    """How many paths there are and how long most of them are (1605.06431, section 4.1), in one sentence."""
    if paths.count == 1:
        return f"one path, of {paths.depth} weight layers"
    words = f"{number_of_paths(paths)} paths of {paths.shallowest} to {paths.depth} weight layers"
    if not paths.units:
        return words
    if paths.units == 1:
        return f"{words}: through one residual function or past it"
    low, high = paths.within(0.95)
    return f"{words}; 95 % of them pass through {low} to {high} of {paths.units} units"


def bins(paths: Paths, most: int) -> list[float]:
    """Shares of the paths by length, put together so that there are at most `most` of equal width."""
    width = -(-len(paths.shares) // most)
    return [sum(paths.shares[start : start + width]) for start in range(0, len(paths.shares), width)]


def sparkline(paths: Paths, columns: int, *, ascii_only: bool = False) -> str:
    """The shares of the paths by the units that they pass through, as bars in one line; nothing without units."""
    if paths.units < 2:
        return ""
    shares = bins(paths, columns)
    bars = _PLAIN_BARS if ascii_only else _BARS
    top = max(shares)
    return "0 " + "".join(bars[round(share / top * (len(bars) - 1))] for share in shares) + f" {paths.units} units"

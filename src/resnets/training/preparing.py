"""How the samples of a source become a network's input: images by their preprocessing, rows of a table encoded."""

from __future__ import annotations

from collections.abc import Sequence

from resnets.architecture import SMALL_IMAGE, NetworkSpec
from resnets.architecture import spec as make_spec
from resnets.data import Preprocessing, Rows, Source, TableEncoding, TableSplit, choose_preprocessing, fit_encoding
from resnets.errors import InputError

Prepared = Preprocessing | TableEncoding
# What `resmlp`, without a depth, means for a table: a linear model from the columns to the numbers, which is where
# training begins (linear_start.py), and beside it units that begin as the identity and learn what it leaves over. Small
# tables want the one, and nearly linear ones the other (docs/LOG.md).
TABLE_ARCH = "resmlp,zero_init=true,skip_layer=true"


def prepare(source: Source, *, size: int | None = None, channels: int | None = None) -> Prepared:
    """Measure on the training split how samples are prepared.

    Raises:
        InputError: no readable image, or no column that could help; a size for a table.
    """
    train = source.splits["train"]
    if not isinstance(train, TableSplit):
        return choose_preprocessing(train, size=size, channels=channels)
    if size is not None:
        raise InputError(f"{source.name} is a table, and --size is the side of images; leave it out")
    return fit_encoding(train)


def again(source: Source, before: Prepared) -> Prepared:
    """The same on what is left to train on, once images or rows are held out; images keep size and channels."""
    if isinstance(before, Preprocessing):
        return prepare(source, size=before.size, channels=before.channels)
    return prepare(source)


def shape_of(prepared: Prepared) -> tuple[int, int, int]:
    """(channels, height, width) of one sample: (1, 1, F) of a row."""
    if isinstance(prepared, Preprocessing):
        return prepared.channels, prepared.size, prepared.size
    return 1, 1, len(prepared)


def default_arch(prepared: Prepared) -> NetworkSpec:
    """The network for these samples where none was asked for."""
    if isinstance(prepared, TableEncoding):
        return make_spec(TABLE_ARCH)
    return make_spec("resnet20" if prepared.size < SMALL_IMAGE else "resnet18")


def fitted(wanted: NetworkSpec, prepared: Prepared, outputs: int) -> tuple[NetworkSpec, list[str]]:
    """The network for these samples and so many outputs, with what its user should be told.

    Raises:
        InputError: a stage would shrink below one pixel; or a network of images for a table.
    """
    channels, height, width = shape_of(prepared)
    if isinstance(prepared, TableEncoding) and wanted.unit != "linear":
        raise InputError(
            f"{wanted.name or 'the network'} takes images, and a table has rows of numbers; use --arch resmlp, or"
            " another resmlpDEPTH"
        )
    return wanted.fit(image_size=(height, width), in_channels=channels, num_classes=outputs)


def encoding_notes(prepared: Prepared, loaded: Sequence[object]) -> list[str]:
    """What a user should be told of how rows were encoded."""
    if isinstance(prepared, Preprocessing):
        return []
    return [*prepared.notes, *(note for part in loaded if isinstance(part, Rows) for note in part.notes)]

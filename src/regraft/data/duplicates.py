"""Exact and near duplicates among pictures, from their thumbnails.

Exact duplicates are files with equal SHA-256. Near duplicates are copies of one picture that were
resized, re-encoded, mirrored, brightened a little or turned grey. They are found as in perceptual
hashing (C. Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010), by
the low frequencies of the picture's cosine transform, with two differences:

- The coefficients are kept as numbers, not as signs. In simple or symmetric pictures most
  coefficients are close to zero and their signs are noise: copies lie far apart in Hamming
  distance. Multiplied by their frequency and scaled to unit length, the coefficients of two
  pictures have a cosine that is both the search and the measure, and it costs one matrix product.
- A cosine means little in a set whose pictures all look alike (solar cells, digits, X-rays). So a
  picture with many look-alikes that are not close enough for copies is in a crowd, and in a crowd
  only a practically identical picture counts.

Pictures that are related, but no copies (frames of one film, two photos of one thing), are not
looked for: they are what groups are for.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from regraft.errors import UsageError

THUMB_SIDE = 32  # pixels

# The thresholds were set on photos of clothes, blood smears, handwritten digits and solar cells,
# with planted copies (benchmarks/duplicates.py). Frequencies are in half-periods per thumb's side.
BAND = 12  # finer detail than this drowns in what resizing and JPEG do to it

# Detail is what is left without sums of a row pattern and a column pattern (a sky, a wall, a lamp's
# falloff, stripes) and without the lowest frequencies: unrelated pictures share all of that.
DETAIL_BAND = 3  # the lowest frequency of detail, across or down
DETAIL_LEVELS = 1.5  # standard deviation, of 255: JPEG adds about 0.5; the palest photo has 2.2
DETAIL_SHARE = 0.05  # of the weighted energy: the rest, 0.95, is under COPY; photos have over 0.1

# Cosines. Of the copies of photos (0.3 to 2 times the size, quality 30 to 95, mirrored ...) 99 in
# 100 reach 0.997 and the worst 0.994; the most similar unrelated photos reach 0.952. The gap is
# shared out so that a resize without a filter (0.96 to 0.99) is mostly found.
COPY = 0.985
LOOKALIKE = 0.90  # unrelated photos hardly reach it; digits and solar cells do so by the dozen
CROWD = 5  # look-alikes short of COPY: a series of photos has as many, unrelated digits more
IDENTICAL = 0.9993  # different solar cells reach 0.9990; a PNG, a mirror image, a good JPEG 0.9995

# Verification on the pixels, which the cosine of grey pictures cannot see.
ASPECT_TOLERANCE = 0.05  # of width / height: one pixel of rounding at 20 pixels
SAME_COLOURS = 0.95  # correlation: copies stay above 0.965, a red shirt and a blue one do not
LEVEL_DIFFERENCE = 30.0  # mean absolute, of 255: 10 % brighter than white is 25.5
GREYISH = 3.0  # mean spread of the channels, of 255, under which a picture counts as grey
MIRROR_GAIN = 0.01  # cosine by which the mirrored picture must fit better, or it is symmetric

LARGE_GROUP = 16  # pictures; in larger groups only pairs that tie them together are listed
_ROWS = 1024  # pictures in a block of the search: two float32 blocks of 4 MiB stay near the cache
_SLICE = 1024  # thumbnails or pairs of them at once: 12 MiB in float32

_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as Pillow's "L"

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]
Truths = NDArray[np.bool_]


@dataclass(frozen=True)
class NearPair:
    """Pictures `a` < `b` that are copies of one another, though not byte by byte.

    similarity  cosine of their low frequencies, COPY to 1
    mirrored    one is the other's mirror image, left for right
    """

    a: int
    b: int
    similarity: float
    mirrored: bool


@dataclass(frozen=True)
class Duplicates:
    """What `find_duplicates` found; all numbers are places in its input.

    exact  groups of files with the same digest, each group and the list ascending
    near   pairs, ascending. An exact group is stood for by its first file. Groups of up to
           LARGE_GROUP pictures have all their pairs; larger ones may have only those that join them
    """

    exact: list[tuple[int, ...]]
    near: list[NearPair]

    def together(self) -> list[tuple[int, ...]]:
        """Groups that must not be torn apart by a split: exact and near ones joined, ascending."""
        links = [(group[0], other) for group in self.exact for other in group[1:]]
        links += [(pair.a, pair.b) for pair in self.near]
        if not links:
            return []
        a, b = np.array(links).T
        places, members = np.unique(np.concatenate([a, b]), return_inverse=True)
        labels = _components(len(places), members[: len(a)], members[len(a) :])
        groups: dict[int, list[int]] = {}
        for place, label in zip(places.tolist(), labels.tolist(), strict=True):
            groups.setdefault(label, []).append(place)
        return sorted(map(tuple, groups.values()))


def find_duplicates(
    thumbs: NDArray[np.uint8], digests: Sequence[str], aspects: NDArray[np.floating]
) -> Duplicates:
    """Find the exact and near duplicates of a set of pictures.

    thumbs   (n, 32, 32, 3) uint8: each the whole upright picture squashed to 32 x 32 RGB by a box
             (area) filter
    digests  n SHA-256 of the files, as text
    aspects  (n,) width / height of the upright pictures

    The result does not depend on the order of the pictures. Pictures without detail (blank pages,
    a plain sky, stripes) are compared by digest only. Time grows with n²: 0.1 s for 3,400 pictures,
    half a minute for 100,000 on one core; memory with n (about 1.5 kB each).

    Raises UsageError when the arrays do not fit together.
    """
    _check(thumbs, digests, aspects)
    files: dict[str, list[int]] = {}
    for place, digest in enumerate(digests):
        files.setdefault(digest, []).append(place)
    exact = sorted(tuple(group) for group in files.values() if len(group) > 1)
    # By digest, not by place: the order of the input must not show in the result.
    first = np.array([files[digest][0] for digest in sorted(files)], np.int64)
    return Duplicates(exact, sorted(_near_pairs(thumbs, aspects, first), key=_places))


def _places(pair: NearPair) -> tuple[int, int]:
    return pair.a, pair.b


def _check(
    thumbs: NDArray[np.uint8], digests: Sequence[str], aspects: NDArray[np.floating]
) -> None:
    mistakes = []
    shape = (len(digests), THUMB_SIDE, THUMB_SIDE, 3)
    if thumbs.shape != shape or thumbs.dtype != np.uint8:
        mistakes.append(
            f"thumbs: expected uint8 of shape {shape}, one for each digest; "
            f"got {thumbs.dtype} of shape {thumbs.shape}"
        )
    if aspects.shape != shape[:1]:
        mistakes.append(f"aspects: expected shape {shape[:1]}; got {aspects.shape}")
    elif not np.all(np.isfinite(aspects) & (aspects > 0)):
        mistakes.append("aspects: expected width / height, finite and above 0, for each picture")
    if mistakes:
        raise UsageError(*mistakes)


def _near_pairs(
    thumbs: NDArray[np.uint8], aspects: NDArray[np.floating], first: Indices
) -> Iterator[NearPair]:
    even, odd, detailed = _low_frequencies(thumbs, first)
    places, even, odd = first[detailed], even[detailed], odd[detailed]
    pairs = _Pairs(len(places))
    for a, b, similarity in _lookalikes(even, odd):
        for chosen in pairs.worth_verifying(a, b, similarity):
            i, j = a[chosen], b[chosen]
            mirrored = -2 * np.einsum("ij,ij->i", odd[i], odd[j]) > MIRROR_GAIN
            same = _same_picture(thumbs, aspects, places[i], places[j], mirrored)
            pairs.add(i[same], j[same], similarity[chosen][same], mirrored[same])
    a, b, similarity, mirrored = pairs.outside_crowds()
    low, high = np.minimum(places[a], places[b]), np.maximum(places[a], places[b])
    columns = (column.tolist() for column in (low, high, similarity, mirrored))
    return map(NearPair, *columns)


def _low_frequencies(thumbs: NDArray[np.uint8], first: Indices) -> tuple[Floats, Floats, Truths]:
    """The descriptors, in two parts, and which pictures have detail enough to be compared.

    A mirrored picture has the same coefficients, with the sign of the odd horizontal frequencies
    turned. So the cosine with a picture is even + odd, and with its mirror image even - odd.
    """
    vertical, horizontal = np.indices((BAND, BAND))
    frequency = np.hypot(vertical, horizontal)
    band = (frequency > 0) & (frequency < BAND)
    crossed = (vertical > 0) & (horizontal > 0)
    fine = (crossed & (np.maximum(vertical, horizontal) >= DETAIL_BAND))[band]
    is_odd = horizontal[band] % 2 == 1
    weights = frequency[band].astype(np.float32)  # photos fade as 1 / frequency: evens it out
    basis = _cosines()[band].reshape(len(weights), -1).T

    vectors = np.empty((len(first), len(weights)), np.float32)
    detailed = np.empty(len(first), np.bool_)
    for start in range(0, len(first), _SLICE):
        rows = slice(start, start + _SLICE)
        grey = thumbs[first[rows]].astype(np.float32) @ _LUMINANCE
        coefficients = grey.reshape(len(grey), -1) @ basis
        levels = np.linalg.norm(coefficients[:, fine], axis=1) / THUMB_SIDE
        weighted = coefficients * weights
        length = np.linalg.norm(weighted, axis=1, keepdims=True)
        vectors[rows] = weighted / np.maximum(length, np.finfo(np.float32).tiny)
        share = np.square(vectors[rows, fine]).sum(axis=1)
        detailed[rows] = (levels >= DETAIL_LEVELS) & (share >= DETAIL_SHARE)
    return vectors[:, ~is_odd].copy(), vectors[:, is_odd].copy(), detailed


def _cosines() -> Floats:
    """The lowest pictures of the orthonormal two-dimensional DCT-II, (BAND, BAND, side, side).

    As scipy.fft.dctn has them: few are needed, and importing it takes longer than 3,000 pictures.
    """
    middles = (np.arange(THUMB_SIDE) + 0.5) * np.pi / THUMB_SIDE
    waves = np.cos(np.outer(np.arange(BAND), middles)) * np.sqrt(2 / THUMB_SIDE)
    waves[0] /= np.sqrt(2)
    return np.einsum("vy,hx->vhyx", waves, waves).astype(np.float32)


def _lookalikes(even: Floats, odd: Floats) -> Iterator[tuple[Indices, Indices, Floats]]:
    """Pairs a < b with a cosine of LOOKALIKE or more, as they are or mirrored, block by block."""
    starts = range(0, len(even), _ROWS)
    for row, column in ((r, c) for r in starts for c in starts if c >= r):
        rows, columns = slice(row, row + _ROWS), slice(column, column + _ROWS)
        cosine = odd[rows] @ odd[columns].T
        np.abs(cosine, out=cosine)
        cosine += even[rows] @ even[columns].T
        if row == column:
            cosine = np.triu(cosine, k=1)
        a, b = np.nonzero(cosine >= LOOKALIKE)
        if len(a):
            yield a + row, b + column, cosine[a, b]


class _Pairs:
    """Verified pairs among n pictures, and the crowds that decide which of them count.

    Pairs inside large groups are dropped on the way: all those of 10,000 frames of one scene would
    be 50 million.
    """

    def __init__(self, n: int) -> None:
        self._lookalikes = np.zeros(n, np.int64)
        self._group = np.arange(n)
        self._found: list[tuple[Indices, Indices, Floats, Truths]] = []

    def worth_verifying(self, a: Indices, b: Indices, similarity: Floats) -> Iterator[Indices]:
        """Count the look-alikes; yield slices of positions of the pairs that may be copies."""
        unlike = similarity < COPY
        for ends in (a[unlike], b[unlike]):
            self._lookalikes += np.bincount(ends, minlength=len(self._lookalikes))
        left = np.flatnonzero(~unlike & self._counts(a, b, similarity))
        while len(left := left[~self._joined(a[left], b[left])]):
            yield left[:_SLICE]
            left = left[_SLICE:]

    def add(self, a: Indices, b: Indices, similarity: Floats, mirrored: Truths) -> None:
        self._found.append((a, b, similarity, mirrored))
        group = self._group
        self._group = _components(len(group), group[a], group[b])[group]

    def outside_crowds(self) -> tuple[Indices, Indices, Floats, Truths]:
        none = np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32)
        columns = zip(*self._found, (*none, np.zeros(0, np.bool_)), strict=True)
        a, b, similarity, mirrored = map(np.concatenate, columns)
        kept = self._counts(a, b, similarity)
        return a[kept], b[kept], similarity[kept], mirrored[kept]

    def _counts(self, a: Indices, b: Indices, similarity: Floats) -> Truths:
        crowded = self._lookalikes > CROWD
        return (similarity >= IDENTICAL) | ~(crowded[a] | crowded[b])

    def _joined(self, a: Indices, b: Indices) -> Truths:
        large = np.bincount(self._group)[self._group] > LARGE_GROUP
        return large[a] & (self._group[a] == self._group[b])


def _components(n: int, a: Indices, b: Indices) -> Indices:
    """Label of the connected component of each of n nodes, given edges a-b."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(a), np.bool_), (a, b)), shape=(n, n))
    labels: Indices = connected_components(graph, directed=False)[1].astype(np.int64)
    return labels


def _same_picture(
    thumbs: NDArray[np.uint8],
    aspects: NDArray[np.floating],
    a: Indices,
    b: Indices,
    mirrored: Truths,
) -> Truths:
    """Whether pictures a and b agree in shape, colours and brightness too; all (pairs,)."""
    shape = np.abs(np.log(aspects[a] / aspects[b])) <= ASPECT_TOLERANCE
    one, other = thumbs[a], thumbs[b]
    other[mirrored] = other[mirrored, :, ::-1]
    grey = _greyish(one) | _greyish(other)  # a grey copy has lost its colours: compare the rest
    x, y = _pixels(one, grey), _pixels(other, grey)
    close = np.abs(x - y).mean(axis=1) <= LEVEL_DIFFERENCE
    x -= x.mean(axis=1, keepdims=True)
    y -= y.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    return shape & close & (np.einsum("ij,ij->i", x, y) >= SAME_COLOURS * lengths)


def _greyish(thumbs: NDArray[np.uint8]) -> Truths:
    red, green, blue = np.moveaxis(thumbs, -1, 0)  # np.ptp along three values takes 30 times longer
    lowest = np.minimum(np.minimum(red, green), blue)
    return (np.maximum(np.maximum(red, green), blue) - lowest).mean(axis=(1, 2)) < GREYISH


def _pixels(thumbs: NDArray[np.uint8], grey: Truths) -> Floats:
    pixels = thumbs.astype(np.float32)
    pixels[grey] = (pixels[grey] @ _LUMINANCE)[..., None]
    return pixels.reshape(len(pixels), -1)

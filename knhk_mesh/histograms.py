"""Phase times as HdrHistograms (Gil Tene): what `GET /ticks` tells, with the relative error of three digits.

Folded in bulk: recording value by value costs some four ticks each, rounding all of them to the histogram's own
buckets with numpy first costs a tenth of one.
"""

from __future__ import annotations

from array import array
from typing import Any

LOWEST_NS = 1
HIGHEST_NS = 3_600_000_000_000
DIGITS = 3
_SUB_BUCKET_BITS = 11  # 2 * 10^3 sub-buckets, rounded up to a power of two


def histogram_of(times: array[int]) -> Any:
    """The `hdrh.histogram.HdrHistogram` of these nanoseconds; above an hour counts as an hour."""
    import numpy
    from hdrh.histogram import HdrHistogram

    histogram = HdrHistogram(LOWEST_NS, HIGHEST_NS, DIGITS)
    values = numpy.minimum(numpy.array(times, dtype=numpy.int64), HIGHEST_NS)
    bits = numpy.frexp(values.astype(numpy.float64))[1]
    shift = numpy.maximum(bits - _SUB_BUCKET_BITS, 0)
    for value, count in zip(*numpy.unique((values >> shift) << shift, return_counts=True), strict=True):
        histogram.record_value(int(value), int(count))
    return histogram

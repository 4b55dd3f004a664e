// The largest magnitude in each row, and the levels, factors and divisors that follow from it
// (dask_coded/kernels/scaling.py says what they mean). Levels of rows of zeros and of rows that are not
// finite are marks.

const short ZERO = -32768, NONFINITE = 32767;

// Magnitudes as unsigned integers: in the same order, Inf above all numbers, NaN above Inf.
__device__ inline unsigned magnitude(float x) { return same_bits<unsigned>(x) & 0x7fffffffu; }
__device__ inline unsigned magnitude(Half x) { return magnitude(to_float(x)); }
__device__ inline Word magnitude(double x) { return same_bits<Word>(x) & 0x7fffffffffffffffull; }
__device__ inline double value(unsigned bits) { return same_bits<float>(bits); }
__device__ inline double value(Word bits) { return same_bits<double>(bits); }

const int STEPS = 8;  // tiles of one thread: fewer atomics

template <class T, class Bits>
__global__ void row_maxima(const T* data, Bits* maxima, Int planes, Int plane, Int inner, Int across) {
    const int V = sizeof(T) == 8 ? 2 : 4;
    const Int wide = across ? warpSize : warpSize * V, deep = across ? V : 1;
    const Int tiles = (plane + wide - 1) / wide, depth = (planes + deep - 1) / deep;
    // Steps go on in the direction in which the row stays the same.
    const Int strips = across ? tiles : (tiles + STEPS - 1) / STEPS;
    const Int all = strips * (across ? (depth + STEPS - 1) / STEPS : depth);
    for (Int strip = warp_index(); strip < all; strip += warp_count()) {
        Bits most = 0;
        Int row = -1;
        bool one_row = true;
        for (int s = 0; s < STEPS; ++s) {
            Int outer = across ? (strip / strips * STEPS + s) * deep : strip / strips;
            Int first = (across ? strip % strips : strip % strips * STEPS + s) * wide;
            if (outer >= planes || first >= plane) break;
            Place<V> at(outer, first, plane, inner, across);
            const T* from = data + outer * plane + at.element;
            Pack<T, V> pack;
            bool whole = !across && at.element + V <= plane && aligned<T, V>(from);
            if (whole) pack = *(const Pack<T, V>*)from;
            if (row < 0) row = at.row[0];
            one_row = one_row && at.one_row && at.row[0] == row;
            for (int e = 0; e < V; ++e) {
                if (!at.has(e, plane, planes, across)) continue;
                Bits size = magnitude(whole ? pack.values[e] : from[across ? e * plane : e]);
                if (at.row[e] != row) {
                    if (most) atomicMax(maxima + row, most);
                    most = 0;
                    row = at.row[e];
                }
                most = size > most ? size : most;
            }
        }
        if (__all_sync(EVERY_LANE, one_row)) {
            most = warp_max(most);
            if (lane_index() != 0) most = 0;
        }
        if (most) atomicMax(maxima + row, most);
    }
}

template <class Bits>
__global__ void row_levels(const Bits* maxima, short* levels, Int rows, Int limit) {
    Int step = (Int)gridDim.x * blockDim.x;
    for (Int row = (Int)blockIdx.x * blockDim.x + threadIdx.x; row < rows; row += step) {
        double largest = value(maxima[row]);
        int exponent = 0;
        double twice = 2 * frexp(largest, &exponent);
        Int level = 4 * (exponent - 1) + (twice >= 8 / 7.) + (twice >= 4 / 3.) + (twice >= 8 / 5.);
        level = level < -4 * limit ? -4 * limit : level > 4 * limit - 1 ? 4 * limit - 1 : level;
        bool finite = largest - largest == 0;
        levels[row] = !finite ? NONFINITE : largest == 0 ? ZERO : (short)level;
    }
}

// What rows of these levels are multiplied by; NaN, which no decode accepts, where Real cannot hold it.
template <class Real>
__device__ inline Real factor_of(short level, Int limit) {
    if (level == ZERO || level == NONFINITE) return 1;
    int exponent = level >> 2, quarter = level & 3;
    if (exponent > limit || exponent < -limit) return same_bits<float>(0x7fc00000u);
    const double steps[] = {7 / 4., 3 / 2., 5 / 4., 1};
    return (Real)ldexp(steps[quarter], -exponent);
}

template <class Real>
__global__ void row_factors(const short* levels, Real* factors, Int rows, Int limit) {
    Int step = (Int)gridDim.x * blockDim.x;
    for (Int row = (Int)blockIdx.x * blockDim.x + threadIdx.x; row < rows; row += step)
        factors[row] = factor_of<Real>(levels[row], limit);
}

// The same of the rows to scale back; Inf where they must be zero, 1 for rows that are only padding.
template <class Real>
__global__ void row_divisors(const short* levels, Real* divisors, Int known, Int rows, Int limit) {
    Int step = (Int)gridDim.x * blockDim.x;
    for (Int row = (Int)blockIdx.x * blockDim.x + threadIdx.x; row < rows; row += step) {
        bool zero = row < known && levels[row] == ZERO;
        divisors[row] = zero ? (Real)same_bits<float>(0x7f800000u)
                             : row < known ? factor_of<Real>(levels[row], limit) : (Real)1;
    }
}

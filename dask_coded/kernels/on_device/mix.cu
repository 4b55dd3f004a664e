// results[s] = sum over columns c of  weights[s, c] * factor of the row * columns[c],  in one pass.
//
// With NORMS the squares of every row of columns and results are added up on the way, in three sums so
// that none overflows or vanishes (as in Blue's algorithm), and the factors that were used are kept:
//     norms   (4, columns + results, rows)   large * 2**-1200, middle, small * 2**1200, factor

template <class T>
struct Complex {
    T re, im;
};
template <class T>
__device__ inline void add(Complex<T>& sum, Complex<T> x) {
    sum.re += x.re;
    sum.im += x.im;
}
template <class T>
__device__ inline Complex<T> operator*(Complex<T> x, Complex<T> y) {
    return {x.re * y.re - x.im * y.im, x.re * y.im + x.im * y.re};
}
template <class T>
__device__ inline Complex<T> operator*(Complex<T> x, T y) { return {x.re * y, x.im * y}; }
template <class T>
__device__ inline Complex<T> operator/(Complex<T> x, T y) { return {x.re / y, x.im / y}; }
template <class W>
__device__ inline void add(W& sum, W x) { sum += x; }

template <class W>
struct Work {
    typedef W Real;
    static const bool is_integer = (W)0.5 == 0, is_complex = false;
};
template <class T>
struct Work<Complex<T>> {
    typedef T Real;
    static const bool is_integer = false, is_complex = true;
};

template <class W, class T>
__device__ inline W convert(T value) {
    if constexpr (Work<W>::is_complex) return W{(typename Work<W>::Real)value, 0};
    else return (W)value;
}
template <class W>
__device__ inline W convert(Half value) { return convert<W>(to_float(value)); }
template <class W, class T>
__device__ inline W convert(Complex<T> value) {
    return W{(typename Work<W>::Real)value.re, (typename Work<W>::Real)value.im};
}

template <class W>
__device__ inline W times(W x, W y) {
    if constexpr (Work<W>::is_integer) return (W)((Word)x * (Word)y);  // short types would become int
    else return x * y;
}

struct Column {           // a group of rows of a block
    const void* data;     // its first element
    const void* factors;  // what its rows are multiplied by, real; or null
    Int stride;           // elements from one plane to the next
    Int limit;            // elements of a plane that are there; the others count as zeros
    Int type;             // place in the list of fetch()
};
struct Result {           // a group of rows of the result
    void* data;
    const void* divisors;  // what its rows are divided by once they are measured; or null
    Int stride, limit;
};

template <class T, class W, int V>
__device__ inline void fetch_as(const Column& c, const Place<V>& at, Int planes, bool across, W* x) {
    const T* from = (const T*)c.data + at.outer * c.stride + at.element;
    if (!across && at.element + V <= c.limit && aligned<T, V>(from)) {
        Pack<T, V> pack = *(const Pack<T, V>*)from;
        #pragma unroll
        for (int e = 0; e < V; ++e) x[e] = convert<W>(pack.values[e]);
        return;
    }
    #pragma unroll
    for (int e = 0; e < V; ++e)
        x[e] = at.has(e, c.limit, planes, across) ? convert<W>(from[across ? e * c.stride : e]) : convert<W>(0);
}

// All threads take the same branch: the type is the column's.
template <class W, int V>
__device__ inline void fetch(const Column& c, const Place<V>& at, Int planes, bool across, W* x) {
    switch (c.type) {
    case 0: fetch_as<signed char>(c, at, planes, across, x); break;
    case 1: fetch_as<unsigned char>(c, at, planes, across, x); break;
    case 2: fetch_as<short>(c, at, planes, across, x); break;
    case 3: fetch_as<unsigned short>(c, at, planes, across, x); break;
    case 4: fetch_as<int>(c, at, planes, across, x); break;
    case 5: fetch_as<unsigned>(c, at, planes, across, x); break;
    case 6: fetch_as<Int>(c, at, planes, across, x); break;
    case 7: fetch_as<Word>(c, at, planes, across, x); break;
    }
    if constexpr (!Work<W>::is_integer) switch (c.type) {
    case 8: fetch_as<Half>(c, at, planes, across, x); break;
    case 9: fetch_as<float>(c, at, planes, across, x); break;
    case 10: fetch_as<double>(c, at, planes, across, x); break;
    }
    if constexpr (Work<W>::is_complex) switch (c.type) {
    case 11: fetch_as<Complex<float>>(c, at, planes, across, x); break;
    case 12: fetch_as<Complex<double>>(c, at, planes, across, x); break;
    }
}

struct Squares {
    double large, middle, small;

    __device__ void take(double value) {
        const double up = 4.149515568880993e180, down = 1 / up;  // 2**600
        double size = value < 0 ? -value : value;
        if (size > 1e100) large += (size * down) * (size * down);
        else if (size < 1e-100) small += (size * up) * (size * up);
        else middle += size * size;  // NaN too
    }
    template <class T>
    __device__ void take(Complex<T> value) {
        take((double)value.re);
        take((double)value.im);
    }
    __device__ void put(double* line, Int step) const {
        if (middle != 0) atomicAdd(line + step, middle);
        if (large != 0) atomicAdd(line, large);
        if (small != 0) atomicAdd(line + 2 * step, small);
    }
};

// Add the squares of V elements to the sums of their rows.
template <class W, int V>
__device__ inline void measure(double* line, Int step, const Place<V>& at, const W* x) {
    Squares sum = {0, 0, 0};
    if (at.one_row) {
        #pragma unroll
        for (int e = 0; e < V; ++e) sum.take(x[e]);
        sum.middle = warp_sum(sum.middle);
        if (__any_sync(EVERY_LANE, sum.large != 0 || sum.small != 0)) {
            sum.large = warp_sum(sum.large);
            sum.small = warp_sum(sum.small);
        }
        if (lane_index() == 0) sum.put(line + at.row[0], step);
        return;
    }
    #pragma unroll
    for (int e = 0; e < V; ++e) {
        sum.take(x[e]);
        if (e + 1 < V && at.row[e + 1] == at.row[e]) continue;
        sum.put(line + at.row[e], step);
        sum = {0, 0, 0};
    }
}

// Store V elements where they exist, divided.
template <class W, int V>
__device__ inline void store(const Result& r, const Place<V>& at, Int planes, Int inner, bool across,
                             double* kept, const W* y) {
    typedef typename Work<W>::Real Real;
    W* to = (W*)r.data + at.outer * r.stride + at.element;
    Pack<W, V> pack;
    #pragma unroll
    for (int e = 0; e < V; ++e) {
        bool there = at.has(e, r.limit, planes, across);
        pack.values[e] = y[e];
        if constexpr (!Work<W>::is_integer) if (r.divisors && there) {
            Real divisor = ((const Real*)r.divisors)[at.row[e]];
            pack.values[e] = divisor > 1 && divisor - divisor != 0 ? convert<W>(0) : y[e] / divisor;  // Inf
            if (kept && at.begins_row(e, inner, across)) kept[at.row[e]] = divisor;
        }
    }
    if (!across && at.element + V <= r.limit && aligned<W, V>(to)) {
        *(Pack<W, V>*)to = pack;
        return;
    }
    #pragma unroll
    for (int e = 0; e < V; ++e)
        if (at.has(e, r.limit, planes, across)) to[across ? e * r.stride : e] = pack.values[e];
}

// Multiply by the factors of the rows; keep those of rows that begin here.
template <class W, int V, bool NORMS>
__device__ inline void scale(const Column& c, const Place<V>& at, Int planes, Int inner, bool across,
                             double* kept, W* x) {
    typedef typename Work<W>::Real Real;
    const Real* factors = (const Real*)c.factors;
    #pragma unroll
    for (int e = 0; e < V; ++e) {
        if (!at.has(e, c.limit, planes, across)) continue;
        Real factor = factors[at.row[e]];
        x[e] = x[e] * factor;
        if (NORMS && at.begins_row(e, inner, across)) kept[at.row[e]] = factor;
    }
}

const int SUMMED_IN_ONE_GO = 8;  // terms; sums of them are added to the rest, to round less

template <class W, int R, bool NORMS>
__global__ void mix(const Column* columns, const Result* results, const W* weights, double* norms, Int count,
                    Int planes, Int plane, Int inner, Int across) {
    const int V = sizeof(W) >= 16 ? 1 : sizeof(W) == 8 ? 2 : 4;
    const Int wide = across ? warpSize : warpSize * V, deep = across ? V : 1;
    const Int tiles = (plane + wide - 1) / wide, rows = plane / inner, step = (count + R) * rows;
    const Int all = tiles * ((planes + deep - 1) / deep);
    for (Int tile = warp_index(); tile < all; tile += warp_count()) {
        const Int outer = quotient(tile, tiles);
        Place<V> at(outer * deep, (tile - outer * tiles) * wide, plane, inner, across);
        W sums[R][V] = {}, parts[R][V] = {};
        for (Int c = 0; c < count; ++c) {
            const Column column = columns[c];
            W x[V];
            fetch<W, V>(column, at, planes, across, x);
            if constexpr (!Work<W>::is_integer) if (column.factors)
                scale<W, V, NORMS>(column, at, planes, inner, across, norms + 3 * step + c * rows, x);
            if constexpr (NORMS) measure<W, V>(norms + c * rows, step, at, x);
            bool last = c + 1 == count || (c + 1) % SUMMED_IN_ONE_GO == 0;
            #pragma unroll
            for (int s = 0; s < R; ++s)
                #pragma unroll
                for (int e = 0; e < V; ++e) {
                    add(parts[s][e], times(weights[s * count + c], x[e]));
                    if (last) {
                        add(sums[s][e], parts[s][e]);
                        parts[s][e] = convert<W>(0);
                    }
                }
        }
        #pragma unroll
        for (int s = 0; s < R; ++s) {
            double* kept = NORMS ? norms + 3 * step + (count + s) * rows : nullptr;
            store<W, V>(results[s], at, planes, inner, across, kept, sums[s]);
            if constexpr (NORMS) measure<W, V>(norms + (count + s) * rows, step, at, sums[s]);
        }
    }
}

// What all kernels share. Plain CUDA C++ without headers, so that NVRTC needs no toolkit and a C++
// compiler with a few definitions (tests/kernels/cuda_shim.h) can run the same arithmetic.
//
// Blocks are seen as (outer, rows, inner). A group of rows of one outer index lies in one piece, its
// `plane` of rows * inner elements. A warp works on a tile of
//     along    32 * V consecutive elements of a plane, V of each thread
//     across   32 consecutive elements of V planes, one element of each plane of each thread
// so that all that a thread holds belongs to one row where rows are long, or where they are short and many.

typedef long long Int;
typedef unsigned long long Word;

enum : unsigned { EVERY_LANE = 0xffffffffu };

template <class To, class From>
__device__ inline To same_bits(From from) {
    union { From from; To to; } both;
    both.from = from;
    return both.to;
}

struct Half { unsigned short bits; };

// Not cuda_fp16.h, which is part of the toolkit.
__device__ inline float to_float(Half half) {
    unsigned bits = (half.bits & 0x7fffu) << 13, sign = (half.bits & 0x8000u) << 16;
    float size = same_bits<float>(bits) * same_bits<float>(0x77800000u);  // times 2**112: subnormals too
    if ((half.bits & 0x7c00u) == 0x7c00u) size = same_bits<float>(bits | 0x7f800000u);
    return same_bits<float>(same_bits<unsigned>(size) | sign);
}

template <class T, int V>
struct alignas(sizeof(T) * V) Pack { T values[V]; };

template <class T, int V>
__device__ inline bool aligned(const T* place) {
    return (Word)place % (sizeof(T) * V) == 0;
}

// Division of 64 bits takes as long as reading a few blocks.
__device__ inline Int quotient(Int a, Int b) {
    return (a | b) >> 31 ? a / b : (Int)((unsigned)a / (unsigned)b);
}

__device__ inline Int warp_index() { return ((Int)blockIdx.x * blockDim.x + threadIdx.x) / warpSize; }
__device__ inline Int warp_count() { return (Int)gridDim.x * blockDim.x / warpSize; }
__device__ inline int lane_index() { return threadIdx.x % warpSize; }

// Where a thread stands: its first element, and the row of each of its V elements.
template <int V>
struct Place {
    Int outer, element;
    Int row[V];
    bool one_row;  // all of the warp is in the row of its first element

    __device__ Place(Int outer, Int first, Int plane, Int inner, bool across) {
        this->outer = outer;
        element = first + (Int)lane_index() * (across ? 1 : V);
        Int start = quotient(first, inner);  // every lane's; lanes past the end count as there
        row[0] = element < plane ? quotient(element, inner) : start;
        Int left = (row[0] + 1) * inner - element;
        #pragma unroll
        for (int e = 1; e < V; ++e) {
            row[e] = row[e - 1];
            if (!across && element + e < plane && --left == 0) {
                row[e] += 1;
                left = inner;
            }
        }
        one_row = __all_sync(EVERY_LANE, row[0] == start && row[V - 1] == start);
    }

    // Is element e among the first `limit` of a plane, and the plane one of `planes`?
    __device__ bool has(int e, Int limit, Int planes, bool across) const {
        return across ? element < limit && outer + e < planes : element + e < limit;
    }

    // Is element e the first of its row?
    __device__ bool begins_row(int e, Int inner, bool across) const {
        return outer == 0 && (!across || e == 0) && element + (across ? 0 : e) == row[e] * inner;
    }
};

template <class T>
__device__ inline T warp_sum(T value) {
    for (int step = 16; step; step /= 2) value += __shfl_down_sync(EVERY_LANE, value, step);
    return value;
}

template <class T>
__device__ inline T warp_max(T value) {
    for (int step = 16; step; step /= 2) {
        T other = __shfl_down_sync(EVERY_LANE, value, step);
        value = other > value ? other : value;
    }
    return value;
}

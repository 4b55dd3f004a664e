// Runs CUDA kernels on the CPU: the 32 threads of a warp are fibers that meet at every warp function.
#include <math.h>
#include <string.h>
#include <ucontext.h>

#include <utility>

#define __global__
#define __device__

struct Dim { unsigned x; };
static Dim gridDim, blockDim, blockIdx, threadIdx;
static const int warpSize = 32;

namespace shim {
enum State { READY, WAITING, DONE };
struct Lane {
    ucontext_t context;
    State state;
    const char* at;  // the warp function that it waits in
    char slot[16];
    alignas(16) char stack[1 << 15];
};
static Lane lanes[warpSize];
static ucontext_t home;
static int current;
static void (*body)();

static void lane_main() {
    body();
    lanes[current].state = DONE;
}

static void meet(const char* at) {
    Lane& lane = lanes[current];
    lane.state = WAITING;
    lane.at = at;
    swapcontext(&lane.context, &home);
}

// Run one warp; false if its threads do not all meet in the same functions.
static bool run_warp(unsigned first) {
    for (int i = 0; i < warpSize; ++i) {
        getcontext(&lanes[i].context);
        lanes[i].context.uc_stack.ss_sp = lanes[i].stack;
        lanes[i].context.uc_stack.ss_size = sizeof lanes[i].stack;
        lanes[i].context.uc_link = &home;
        lanes[i].state = READY;
        makecontext(&lanes[i].context, lane_main, 0);
    }
    for (;;) {
        for (current = 0; current < warpSize; ++current) {
            threadIdx.x = first + current;
            swapcontext(&home, &lanes[current].context);
        }
        for (Lane& lane : lanes)
            if (lane.state != lanes[0].state || (lane.state == WAITING && lane.at != lanes[0].at)) return false;
        if (lanes[0].state == DONE) return true;
    }
}

template <class T>
static T exchange(T value, int source, const char* at) {
    memcpy(lanes[current].slot, &value, sizeof value);
    meet(at);
    if (source < warpSize) memcpy(&value, lanes[source].slot, sizeof value);
    meet(at);
    return value;
}

template <class Kernel, class... A, size_t... I>
static void call(Kernel kernel, void** arguments, std::index_sequence<I...>, void (*)(A...)) {
    kernel(*(A*)arguments[I]...);
}

template <class... A>
static int run(void (*kernel)(A...), unsigned grid, unsigned block, void** arguments) {
    static void (*kernel_)(A...);
    static void** arguments_;
    kernel_ = kernel;
    arguments_ = arguments;
    body = [] { call(kernel_, arguments_, std::index_sequence_for<A...>(), (void (*)(A...))nullptr); };
    gridDim.x = grid;
    blockDim.x = block;
    for (blockIdx.x = 0; blockIdx.x < grid; ++blockIdx.x)
        for (unsigned first = 0; first < block; first += warpSize)
            if (!run_warp(first)) return 1;
    return 0;
}
}  // namespace shim

template <class T>
static T __shfl_down_sync(unsigned, T value, int by) {
    return shim::exchange(value, shim::current + by, "shfl_down");
}
static bool __all_sync(unsigned, int holds) {
    bool all = true;
    memcpy(shim::lanes[shim::current].slot, &holds, sizeof holds);
    shim::meet("all");
    for (shim::Lane& lane : shim::lanes) {
        memcpy(&holds, lane.slot, sizeof holds);
        all = all && holds;
    }
    shim::meet("all");
    return all;
}
static bool __any_sync(unsigned, int holds) { return !__all_sync(0, !holds); }
template <class T>
static T atomicAdd(T* place, T value) {
    T before = *place;
    *place += value;
    return before;
}
template <class T>
static T atomicMax(T* place, T value) {
    T before = *place;
    if (value > before) *place = value;
    return before;
}

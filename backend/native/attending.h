// What the layers of one step attend with: made by `attending.py`, known to `attention.cpp`, handed on by `decoder.cpp`.
#pragma once
#include "vec.h"

struct Attending;

// Attention of one layer: q [rows, heads, head_dim], k and v [rows, kv_heads, head_dim], without gaps. Results go to
// where the step says.
API void attention_layer(const Attending* step, int64_t layer, const void* q, const void* k, const void* v);

// Whether no tile of any layer is cut, so that threads need no room in common but what they all read and write.
bool attention_is_whole(const Attending* step, int64_t layers);

// The same as `attention_layer` where that is so, by all threads of a parallel region.
void attention_share(const Attending* step, int64_t layer, const void* q, const void* k, const void* v);

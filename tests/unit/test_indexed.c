/* test_indexed.c: indexed definitions, lowered and interpreted, against plain loops over the syntax tree.
 * link: nnc_front nnc_passes nnc_ir nnc_grammar nnc_base */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "indexed_round.h"

enum { ROUNDS = 12 };

/* tensors: as in indexed_round.h.  ranges: "b=B ..=B,K".  ops: "contract 1" how many there must be. */
typedef struct Case { const char *text, *tensors, *ranges, *ops; } Case;

static const Case cases[] = {
	/* products */
	{"let y[b, j] = sum[k](x[b, k] * w[k, j])", "x:B,K w:K,J", "b=B k=K j=J", "contract 1 transpose 0 reduce_sum 0"},
	{"let y[j, b] = sum[k](x[b, k] * w[k, j])", "x:B,K w:K,J", "b=B k=K j=J", "contract 1"},
	{"let y[b, j] = sum[k](w[k, j] * x[b, k]) + c[j]", "x:B,K w:K,J c:J", "b=B k=K j=J", "contract 1"},
	{"let y[.., j] = sum[k](x[.., k] * w[k, j])", "x:B,M,K w:K,J", "..=B,M k=K j=J", "contract 1 transpose 0"},
	{"let y[.., j] = sum[k](x[.., k] * w[k, j])", "x:K w:K,J", "..= k=K j=J", "contract 1"},
	{"let y[b] = sum[k](x[b, k] * w[k])", "x:B,K w:K", "b=B k=K", "contract 1"},
	{"let y[b] = sum[k](w[k] * x[b, k])", "x:B,K w:K", "b=B k=K", "contract 1"},
	{"let y[j] = sum[b](x[b, j] * g[b])", "x:B,J g:B", "b=B j=J", "contract 1 transpose 0"},
	{"let y[k, j] = sum[b](x[b, k] * g[b, j])", "x:B,K g:B,J", "b=B k=K j=J", "contract 1 transpose 0"},
	{"let y[b] = sum[k](x[b, k] * z[b, k])", "x:B,K z:B,K", "b=B k=K", "contract 0 reduce_sum 1 transpose 0"},
	{"let y[b, i, j] = sum[k](q[b, i, k] * p[b, j, k])", "q:B,N,K p:B,M,K", "b=B i=N j=M k=K", "contract 1 reduce_sum 0"},
	{"let y[b, h, i, j] = sum[d](q[b, i, h, d] * p[b, j, h, d]) / 8", "q:B,N,2,K p:B,M,2,K", "b=B h=2 i=N j=M d=K", "contract 1"},
	{"let y[i, j] = sum[k](a[i] * x[i, k] * w[k, j] * c[j])", "a:N x:N,K w:K,J c:J", "i=N j=J k=K", "contract 1"},
	{"let y[i, j] = sum[k](x[i, k] * g[k] * w[k, j])", "x:N,K g:K w:K,J", "i=N j=J k=K", "contract 1"},
	{"let y[i, j] = sum[k, l](x[i, k] * g[k, l] * w[l, j])", "x:N,K g:K,M w:M,J", "i=N j=J k=K l=M", "contract 2 reduce_sum 0"},
	{"let y[i, j, m] = sum[k](x[i, k] * w[k, j] * z[m, k])", "x:N,K w:K,J z:M,K", "i=N j=J k=K m=M", "contract 1"},
	{"let y[i] = sum[k, l](x[i, k] * w[k, l])", "x:N,K w:K,J", "i=N k=K l=J", "contract 1 reduce_sum 1"},
	{"let y[i] = sum[k, l](x[i, k] * g[l])", "x:N,K g:J", "i=N k=K l=J", NULL},
	{"let y[b, j] = sum[k](2 * x[b, k] * w[k, j] / c[j])", "x:B,K w:K,J c:J", "b=B k=K j=J", "contract 1"},
	{"let y[b, j] = sum[k](x[b, k] / s[k] * w[k, j])", "x:B,K s:K w:K,J", "b=B k=K j=J", "contract 1"},
	{"let y[b, j] = mean[k](x[b, k] * w[k, j])", "x:B,K w:K,J", "b=B k=K j=J", "contract 1"},
	{"let y[b, j] = sum[k]((x[b, k] - m[b]) * max(w[k, j], 0))", "x:B,K m:B w:K,J", "b=B k=K j=J", "contract 1"},
	{"let y[b] = sum[k](k * x[b, k])", "x:B,K", "b=B k=K", NULL},
	{"let y[i] = sum[k](x[i, k] * sum[l](w[k, l] * c[l]))", "x:N,K w:K,J c:J", "i=N k=K l=J", "contract 2"},
	/* other reductions */
	{"let y[j] = sum[i](x[i, j])", "x:N,J", "i=N j=J", "transpose 0 reduce_sum 1"},
	{"let y[j] = mean[..]((x[.., j] - m[j]) ^ 2)", "x:B,M,J m:J", "..=B,M j=J", "transpose 0 reduce_sum 2"},
	{"let y[b] = logsumexp[j](z[b, j]) - z[b, t[b]]", "z:B,J t#J:B", "b=B j=J", "gather 1 reduce_lse 1"},
	{"let y[..] = logsumexp[j](z[.., j]) - z[.., t[..]]", "z:B,M,J t#J:B,M", "..=B,M j=J", "gather 1"},
	{"let y[..] = logsumexp[j](z[.., j]) - z[.., t[..]]", "z:J t#J:", "..= j=J", "gather 1"},
	{"let y[b] = max[i, j](x[b, i, j])", "x:B,N,M", "b=B i=N j=M", "reduce_max 1 reshape 1"},
	{"let y[b] = min[j](x[b, j]) + max[j](x[b, j])", "x:B,J", "b=B j=J", NULL},
	{"let y[b] = prod[j](x[b, j])", "x:B,J", "b=B j=J", NULL},
	{"let y[b] = argmax[j](x[b, j])", "x:B,J", "b=B j=J", "argmax 1"},
	{"let y[b, i] = sum[j < 4](x[b, i])", "x:B,N", "b=B i=N j=4", NULL},
	{"let y[b] = x[b, 0] - mean[j](x[b, j])", "x:B,J", "b=B j=J", NULL},
	/* elements */
	{"let y[i, j] = x[j, i]", "x:M,N", "i=N j=M", NULL},
	{"let y[i, j, k] = a[j] + x[k, i] * x[i, k] - 2", "a:M x:N,N", "i=N j=M k=N", NULL},
	{"let y[i, j] = a[i] * a[j]", "a:N", "i=N j=N", NULL},
	{"let y[i] = x[i, i]", "x:N,N", "i=N", "transpose 0"},
	{"let y[i, j] = x[i, j, i]", "x:N,M,N", "i=N j=M", NULL},
	{"let y[i] = x[i, i, i]", "x:N,N,N", "i=N", NULL},
	{"let y[i < N - 1] = x[i, i + 1] - x[i + 1, i]", "x:N,N", "i=N-1", NULL},
	{"let y[b, j] = sum[i](x[b, i, i] * w[i, j])", "x:B,N,N w:N,J", "b=B i=N j=J", "contract 1"},
	{"let y[i < N] = x[N - 1 - i]", "x:N", "i=N", "flip 1"},
	{"let y[b, i < 3] = x[b, 2 * i + 1]", "x:B,9", "b=B i=3", "slice 1"},
	{"let y[i < 3] = x[8 - 3 * i]", "x:10", "i=3", NULL},
	{"let y[b, i < 3] = x[b, 2 * (i + 1) - i]", "x:B,9", "b=B i=3", NULL},
	{"let y[i < 2] = x[i]", "x:12", "i=2", "slice 1"},
	{"let y[i] = x[i, 2]", "x:N,5", "i=N", NULL},
	{"let y[i] = x[i, N - 1] + x[0, i]", "x:N,N", "i=N", NULL},
	{"let y[b, i] = x[b, i - 1 | 0] + x[b, i]", "x:B,N", "b=B i=N", "pad 1"},
	{"let y[b, i] = x[b, i + 2 | -1] - x[b, i]", "x:B,N", "b=B i=N", NULL},
	{"let y[i] = x[i] + x[2 * i - 3 | 0.5]", "x:N", "i=N", NULL},
	{"let y[i] = x[i] + x[3 - i | 7]", "x:N", "i=N", NULL},
	{"let y[i] = x[i] + x[3 - 2 * i | a[i]]", "x:N a:N", "i=N", NULL},
	{"let y[i, j] = a[i] * c[j] + x[i - 1, 2 - j | a[i] + c[j]]", "x:N,M a:N c:M", "i=N j=M", NULL},
	{"let y[i < 20] = x[i | 3]", "x:12", "i=20", NULL},
	{"let y[i < 5] = x[i + 100 | 3] + x[i - 100 | i]", "x:12", "i=5", NULL},
	{"let y[i] = x[i, i + 1 | 0]", "x:N,N", "i=N", NULL},
	/* windows */
	{"let y[b, i < 5, o] = sum[r, c](x[b, i + r, c] * w[r, c, o])", "x:B,6,K w:2,K,M", "b=B i=5 o=M r=2 c=K",
	 "window 1 contract 1 transpose 0 pad 0 slice 0 reshape 0"},
	{"let y[b, i < 4, j < 3, o] = sum[r, s, c](x[b, i * 2 + r - 1, j * 2 + s - 1, c | 0] * w[r, s, c, o])", "x:B,7,6,K w:3,3,K,M",
	 "b=B i=4 j=3 o=M r=3 s=3 c=K", "pad 1 window 2 contract 1 transpose 0 slice 0 reshape 0"},
	{"let y[b, i < 4, j < 3, o] = sum[r, s, c](w[r, s, c, o] * x[b, r - 1 + i * 2, s - 1 + 2 * j, c | 0])", "x:B,7,6,K w:3,3,K,M",
	 "b=B i=4 j=3 o=M r=3 s=3 c=K", "pad 1 window 2 contract 1 transpose 0 slice 0 reshape 0"},
	{"let y[b, i < 3, o] = sum[r, c](x[b, i * 2 + r * 3, c] * w[r, c, o])", "x:B,12,K w:3,K,M", "b=B i=3 o=M r=3 c=K",
	 "window 1 contract 1 pad 0 slice 0"},
	{"let y[b, i < 4, o] = sum[r, c](x[b, i + 2 - r, c] * w[r, c, o])", "x:B,6,K w:3,K,M", "b=B i=4 o=M r=3 c=K",
	 "window 1 flip 1 contract 1"},
	{"let y[b, i < 4, o] = sum[r, c](x[b, 5 - i - r, c] * w[r, c, o])", "x:B,6,K w:3,K,M", "b=B i=4 o=M r=3 c=K",
	 "window 1 flip 1 contract 1"},
	{"let y[b, i < 4, g, o] = sum[r, k](x[b, i + r, g * K + k] * w[r, k, g, o])",
	 "x:B,6,99 w:3,K,3,M", "b=B i=4 g=3 o=M r=3 k=K", NULL},
	{"let y[b, i < 4, g, o] = sum[r, k < 3](x[b, i + r - 1, g * 3 + k | 0] * w[r, k, g, o])", "x:B,4,9 w:3,3,3,M",
	 "b=B i=4 g=3 o=M r=3 k=3", "pad 1 reshape 1 window 1 contract 1"},
	{"let y[b, i < 4, j < 5, c] = sum[r, s](x[b, i + r - 1, j + s - 1, c | 0] * w[r, s, c])", "x:B,4,5,K w:3,3,K",
	 "b=B i=4 j=5 r=3 s=3 c=K", "pad 1 window 2 contract 1"},
	{"let y[b, i < 2, j < 2, o] = sum[r, s, c](x[b, i + r, j + s, c] * w[r, s, c, o])", "x:B,2,2,K w:1,1,K,M",
	 "b=B i=2 j=2 o=M r=1 s=1 c=K", "window 0 contract 1 transpose 0 pad 0"},
	{"let y[b, i < 3, j < 2, c] = max[r < 3, s < 3](x[b, i * 2 + r, j * 2 + s, c])", "x:B,7,5,K", "b=B i=3 j=2 r=3 s=3 c=K",
	 "window 2 reduce_max 1 transpose 1 reshape 1 slice 0"},
	{"let y[b, i < 3, j < 2, c] = max[r < 2, s < 2](x[b, i * 2 + r, j * 2 + s, c])", "x:B,7,4,K", "b=B i=3 j=2 r=2 s=2 c=K",
	 "window 0 slice 1 reshape 2 reduce_max 1 transpose 1"},
	{"let y[b, i < 4, j < 3, c] = max[r < 3, s < 3](x[b, i * 2 + r - 1, j * 2 + s - 1, c | -9])", "x:B,7,5,K",
	 "b=B i=4 j=3 r=3 s=3 c=K", "pad 1 window 2 reduce_max 1"},
	{"let y[b, i < 4, c] = mean[r < 3](x[b, i * 2 + r, c])", "x:B,9,K", "b=B i=4 r=3 c=K", "window 1 reduce_sum 1"},
	{"let y[i < 9, j < 3] = x[i - j | i * 10 + j]", "x:N", "i=9 j=3", NULL},
	{"let y[i < 9, j < 3] = x[2 * i - 3 * j - 1 | a[j]]", "x:N a:3", "i=9 j=3", NULL},
	{"let y[i < 3, j < 4, k < 2] = x[i * 8 + j * 2 + k]", "x:24", "i=3 j=4 k=2", "window 0 reshape 1 transpose 0"},
	{"let y[i < 3, j < 4, k < 2] = x[i + j * 3 + k * 12 + 1]", "x:26", "i=3 j=4 k=2", "window 0 reshape 1"},
	{"let y[i < 3, j < 4, k < 2] = x[i + j + 2 * k]", "x:9", "i=3 j=4 k=2", "window 2"},
	{"let y[i < 3, j < 4, k < 2] = x[2 * i - j + 3 * k - 3 | -1]", "x:7", "i=3 j=4 k=2", "window 2"},
	{"let y[i < 3, j < 4] = x[4 * i + 8 * j + 2]", "x:40", "i=3 j=4", NULL},
	{"let y[b < B, k < 2] = x[b + k - 1 | 0]", "x:B", "b=B k=2", NULL},
	{"let y[i < 3, r < 3] = x[i + r, i]", "x:5,3", "i=3 r=3", NULL},
	{"let y[i < 3, r < 3] = x[i + r, i + 2 * r - 1 | 4]", "x:5,3", "i=3 r=3", NULL},
	{"let y[i < 3, r < 3] = x[i + r, r, 2 - i]", "x:5,3,3", "i=3 r=3", NULL},
	{"let y[i < 3, r < 3] = x[i + r + 50 | 4] + x[i - r - 50 | i]", "x:5", "i=3 r=3", NULL},
	{"let y[i, r < 3] = x[0, i + r | 0] + x[i, 1 | 2]", "x:N,N", "i=N r=3", NULL},
	/* exact division */
	{"let y[i < 9] = x[i / 2 | 0]", "x:N", "i=9", "pad 1"},
	{"let y[i < 9] = x[(i + 3) / 4 | i]", "x:N", "i=9", NULL},
	{"let y[i < 9] = x[(9 - i) / 3 + 1 | -1]", "x:N", "i=9", NULL},
	{"let y[i < 9] = x[1 - i / 3 | -1]", "x:N", "i=9", NULL},
	{"let y[i < 3] = x[4 * i / 2 + 1]", "x:9", "i=3", "pad 0 slice 1"},
	{"let y[i < 3] = x[(4 * i + 1) / 2 | 7]", "x:9", "i=3", NULL},
	{"let y[i < 3] = x[6 * i / 4 | 7]", "x:9", "i=3", NULL},
	{"let y[i < 3] = x[5 / (i - i + 2) | i]", "x:9", "i=3", NULL},
	{"let y[b, i < 7, o] = sum[r, c](x[b, (i + 1 - r) / 2, c | 0] * w[r, c, o])", "x:B,4,K w:3,K,M", "b=B i=7 o=M r=3 c=K",
	 "pad 1 window 1 flip 1 contract 1"},
	{"let y[b, i < 9, j < 5, o] = sum[r, s, c](x[b, (i - r) / 2, (j + 1 - s) / 1, c | 0] * w[r, s, o, c])", "x:B,4,5,K w:3,3,M,K",
	 "b=B i=9 j=5 o=M r=3 s=3 c=K", "pad 1 window 2 flip 1 contract 1"},
	{"let y[i < 9, r < 4] = x[(i + 2 * r - 3) / 3 | i + r]", "x:N", "i=9 r=4", NULL},
	{"let y[i < 9, r < 4] = x[(2 * i + 4 * r - 3) / 6 | 1]", "x:N", "i=9 r=4", NULL},
	{"let y[i < 9, r < 4] = x[(2 * i + 4 * r - 4) / 6 - 1 | 1]", "x:N", "i=9 r=4", NULL},
	/* rounded down */
	{"let y[b, i < 8, j < 6, c] = x[b, i // 2, j // 3, c]",
	 "x:B,4,2,K", "b=B i=8 j=6 c=K", "broadcast 1 reshape 1 gather 0 slice 0"},
	{"let y[i < 8] = x[3 - i // 2] + x[(i + 1) // 2 - 1 | i] + x[5 - (i + 2) // 3 | 7]", "x:4", "i=8", "gather 0"},
	{"let y[i < 8] = x[i // 2 // 2] + x[4 * i // 8] + x[2 * (i // 2) | 9] + x[-(i // 2) + 3]", "x:4", "i=8", NULL},
	{"let y[i < 8, r < 3] = x[(i + r) // 3] + x[(2 * i - r) // 2 - 1 | i + r] + x[i // 2 + r | 1]", "x:5", "i=8 r=3", "gather 0"},
	{"let y[i < 8] = x[i // 2, i] + x[i // 2, 7 - i // 4]", "x:4,8", "i=8", "gather 0"},
	{"let y[i < 8] = x[i // 2, i % 2] + x[t[i] + i // 3, t[i] // 2]", "x:8,2 t#3:8", "i=8", NULL},
	{"let y[b, o < 4] = sum[r](x[b, (o + r) // 2] * w[r, o // 2])", "x:B,4 w:3,2", "b=B o=4 r=3", "contract 1 gather 0"},
	/* numbers */
	{"let y[i, j] = where(i == j, x[i, j], 0)", "x:N,N", "i=N j=N", NULL},
	{"let y[i, j] = where(j <= i and i - j < 3, x[i, j], -1)", "x:N,N", "i=N j=N", NULL},
	{"let y[i < 5, j < 3] = i * 10 + j", "", "i=5 j=3", NULL},
	{"let y[i < 4] = 1.5", "", "i=4", NULL},
	{"let y[i] = i * x[i] + i // 2 + i % 3", "x:N", "i=N", NULL},
	{"let y[i, j < M] = exp(-(abs(i - j) as f32)) * a[i]", "a:N", "i=N j=M", NULL},
	{"let y[i, j < M] = a[i] / (j + 1)", "a:N", "i=N j=M", NULL},
	/* gathers */
	{"let y[b, j] = x[b, t[b, j], j]", "x:B,N,J t#N:B,J", "b=B j=J", "gather 1"},
	{"let y[b, j] = x[b, j, t[b]]", "x:B,J,N t#N:B", "b=B j=J", "gather 1"},
	{"let y[b] = x[t[b] - 1, b | 9]", "x:N,B t#N:B", "b=B", "gather 1"},
	{"let y[b] = x[b, t[b] + b]", "x:B,N t#N:B", "b=B", "gather 1"},
	{"let y[b] = x[b, t[b], b]", "x:M,N,M t#N:M", "b=M", NULL},
	{"let y[b] = x[t[i0]] * a[b]", "x:N t#N:2 a:B", "b=B", NULL},
	{"let y[b, s, j] = w[t[b, s], j]", "w:N,J t#N:B,M", "b=B s=M j=J", "gather 1 transpose 0"},
	{"let y[j, s, b] = w[t[b, s], j]", "w:N,J t#N:B,M", "b=B s=M j=J", "gather 1"},
	{"let y[b, i, j] = x[b, t[b, i], j]", "x:B,N,J t#N:B,M", "b=B i=M j=J", "gather 1 transpose 0"},
	{"let y[b, i] = x[t[i], b]", "x:N,B t#N:M", "b=B i=M", "gather 1"},
	{"let y[i, j] = x[t[i], i, u[j]]", "x:N,M,K t#N:M u#K:J", "i=M j=J", "gather 1"},
	{"let y[b] = x[t[b], t[b]]", "x:N,N t#N:B", "b=B", "gather 1"},
	{"let y[b, j] = x[t[b] - 1, j, u[b, j] - 1]", "x:N,J,M t#N:B u#M:B,J", "b=B j=J", "gather 1"},
	{"let y[b, j] = x[t[b] - 1, j, u[b, j] + 1 | b + j]", "x:N,J,M t#N:B u#M:B,J", "b=B j=J", "gather 1"},
	{"let y[i < 8] = x[i // 2]", "x:4", "i=8", NULL},
	{"let y[i < 8, j < 9] = x[i // 2, j % 3]", "x:4,3", "i=8 j=9", NULL},
	{"let y[b, i < 4, r < 3] = x[i + r, t[b]]", "x:6,N t#N:B", "b=B i=4 r=3", "gather 1 window 1"},
	{"let y[b, i < 4, r < 3] = x[i + r - 1, t[b] - 1 | 0.5]", "x:4,N t#N:B", "b=B i=4 r=3", "gather 1 window 1"},
	{"let y[b, i < 4] = x[i, t[b], i / 2 | b]", "x:4,N,4 t#N:B", "b=B i=4", "gather 1"},
	{"let y[b, j] = sum[k](w[t[b], k] * v[k, j])", "w:N,K t#N:B v:K,J", "b=B j=J k=K", "gather 1 contract 1"},
	{"let y[..] = x[t[..]]", "x:N t#N:B,M", "..=B,M", "gather 1"},
	{"let y[.., j] = w[t[..], j]", "w:N,J t#N:B,M", "..=B,M j=J", "gather 1 transpose 0"},
};

/* Calls and ordinary expressions, which the oracle cannot read, and indexed definitions with the same meaning. */
typedef struct Same { const char *prelude, *text, *same, *tensors, *ranges; } Same;

static const Same same[] = {
	{"", "let y = x[0, .., 2..5]", "let y[b, j] = x[0, b, j + 2]", "x:M,B,9", "b=B j=3"},
	{"", "let y = x[1..N]", "let y[i] = x[i + 1]", "x:40", "i=N-1"},
	{"", "let y = x[.., 1]", "let y[b] = x[b, 1]", "x:B,3", "b=B"},
	{"", "let y = x[-1..3, 0..12 | 4]", "let y[i, j] = x[i - 1, j | 4]", "x:2,5", "i=4 j=12"},
	{"", "let y = x[5, 2, 1]", "let y[i] = x[5, 2, 1]", "x:6,3,2", "i=1"},
	{"", "let y = x[t[1], .., t[0]]", "let y[i, j] = x[t[1], i, j, t[0]]", "x:6,M,N,6 t#6:2", "i=M j=N"},
	{"", "let y = x[t[1], .., 1..3]", "let y[i, j] = x[t[1], i, j + 1]", "x:6,M,N+3 t#6:2", "i=M j=2"},
	{"fn g(x) = sum(x)", "let y[b] = g(x[t[b], ..])", "let y[b] = sum[j, k](x[t[b], j, k])", "x:6,M,N t#6:B", "b=B j=M k=N"},
	{"fn g(x) = sum(x)", "let y[b] = g(x[t[b], .., b | 2])", "let y[b] = sum[j](x[t[b], j, b | 2])", "x:3,M,B t#6:B", "b=B j=M"},
	{"fn g(x, n: int) { let z[i < n] = x[i] * x[i + 1]\n return z }", "let y[i, j < K] = g(x[i, ..], K)[j]",
	 "let y[i, j] = x[i, j] * x[i, j + 1]", "x:M,K+1", "i=M j=K"},
	{"fn g(x) { let z[i < 2, r < 2] = x[i + r - 1 | 0]\n return z }", "let y[i, j < 2, k < 2] = g(x[i, ..])[j, k]",
	 "let y[i, j, k] = x[i, j + k - 1 | 0]", "x:M,2", "i=M j=2 k=2"},
	{"", "let y = x[t[1], 0 | 3]", "let y[i] = x[t[1], 0]", "x:6,3 t#6:2", "i=1"},
	{"", "let y = sum[i](x[i] * a[i]) + mean[..](z[..])", "let y[q] = sum[i](x[i] * a[i]) + mean[j, k](z[j, k])",
	 "x:N a:N z:J,K", "q=1 i=N j=J k=K"},
	{"", "let y = argmax[i](x[i])", "let y[j < 1] = argmax[i](x[i])", "x:N", "i=N j=1"},
	{"fn g(x: [.., n]) = sum(x * x) / n", "let y[b] = g(x[b, ..])", "let y[b] = mean[k](x[b, k] ^ 2)", "x:B,K", "b=B k=K"},
	{"fn g(x) { let z[i] = x[i] * 2 + i\n return z }", "let y[i, j] = g(x[j, ..])[i]", "let y[i, j] = x[j, i] * 2 + i", "x:M,K",
	 "i=K j=M"},
	{"fn g(x, w) { let z[j] = sum[k](x[k] * w[k, j])\n return z }", "let y[b, j] = g(x[b, ..], w)[j] + 1",
	 "let y[b, j] = sum[k](x[b, k] * w[k, j]) + 1", "x:B,K w:K,J", "b=B k=K j=J"},
	{"fn g(x, a) = sum[k](x * a[k])", "let y[i] = g(g(x[i], a), a)", "let y[i] = sum[k](sum[l](x[i] * a[l]) * a[k])", "x:N a:K",
	 "i=N k=K l=K"},
	{"fn g(x, a) = sum[k](a[k] * x)", "let y[k] = sum[i](x[i, k] * g(x[i, k], a))",
	 "let y[k] = sum[i](x[i, k] * sum[l](a[l] * x[i, k]))", "x:N,K a:J", "i=N k=K l=J"},
};

/* ---- checks ---- */

static int count_ops(const Fn *f, const char *name, size_t length) {
	int n = 0;
	for (int i = 0; i < f->vals.length; i++) {
		const char *text = op_info[f->vals.data[i]->op].text;
		n += strlen(text) == length && !strncmp(text, name, length);
	}
	return n;
}

static void check_ops(const Case *c, const Fn *f, const Round *r) {
	for (const char *at = c->ops; at && *at;) {
		size_t length = strcspn(at, " ");
		int want = atoi(at + length), got = count_ops(f, at, length);
		if (want != got) {
			Text text = {.arena = r->e.arena};
			fn_print(&text, f);
			fail_msg("%s: %d %.*s, not %d\n%s", c->text, got, (int)length, at, want, text.data);
		}
		at += length + 1 + strcspn(at + length + 1, " ");
		at += *at == ' ';
	}
}

static double tensor_element(const Tensor *t, EvalMode mode, int64_t i) {
	if (!dtype_is_float(t->type.dtype)) return ((const int32_t *)t->data)[i];
	return mode == EVAL_F64 ? ((const double *)t->data)[i] : (double)((const float *)t->data)[i];
}

static void check_values(const Case *c, const Fn *f, Round *r, const Filled *want) {
	static const double tolerance[] = {1e-11, 2e-4};
	for (int mode = 0; mode < 2; mode++) {
		Tensor out, in[MAX_ARRAYS];
		for (int i = 0; i < r->narrays; i++) in[i] = r->input[mode][i];
		fn_eval(r->e.arena, f, mode ? EVAL_F32 : EVAL_F64, in, &out);
		if (type_count(out.type) != want->count) fail_msg("%s: %s", c->text, type_text(r->e.arena, out.type));
		for (int64_t i = 0; i < want->count; i++) {
			double got = tensor_element(&out, mode ? EVAL_F32 : EVAL_F64, i), wanted = want->data[i];
			if (fabs(got - wanted) <= tolerance[mode] * (20 + fabs(wanted))) continue;
			const char *type = type_text(r->e.arena, out.type);
			fail_msg("%s: element %lld of %s is %.17g, not %.17g", c->text, (long long)i, type, got, wanted);
		}
	}
}

static Value elaborate(Round *r, const char *text) {
	const Stmt *s = statement(r->file.tree);
	Value v = s->kind == STMT_LET ? eval_expr(&r->e, r->scope, s->value) : elab_indexed_let(&r->e, r->scope, s);
	if (!value_ok(v) || r->e.diag->errors) {
		diag_print(r->e.diag, stderr, false);
		fail_msg("%s: not lowered", text);
	}
	assert_int_equal(v.as.tensor.nlabels, 0);
	return v;
}

/* `meaning`: the definition that the oracle reads, or NULL: the case itself. */
static void run_case(const Case *c, const char *prelude, const char *meaning, uint64_t seed) {
	Round *r = calloc(1, sizeof *r);
	round_start(r, prelude, c->text, seed);
	for (const char *at = c->tensors; *at; at += *at == ' ') add_tensor(r, &at);
	add_known(r, c->ranges);
	Value v = elaborate(r, c->text);
	fn_output(r->build.fn, "y", v.as.tensor.val, -1);
	fn_verify(r->build.fn, "elab");
	if (seed % ROUNDS == 5) check_ops(c, fn_canonical(r->build.fn), r);
	Oracle o = {.arrays = r->array, .narrays = r->narrays, .known = r->known, .nknown = r->nknown};
	Filled want = {.data = NEW_ARRAY(r->e.arena, double, 64 + type_count(v.as.tensor.val->type))};
	oracle_fill(&o, statement(meaning ? parse_text(r, "", meaning) : r->file.tree), 0, 0, &want);
	check_values(c, r->build.fn, r, &want);
	arena_free(r->e.arena);
	free(r);
}

static void test_cases(void **state) {
	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		for (uint64_t k = 0; k < ROUNDS; k++) run_case(&cases[i], "", NULL, i * ROUNDS + k);
}

static void test_same(void **state) {
	(void)state;
	for (size_t i = 0; i < COUNT(same); i++)
		for (uint64_t k = 0; k < ROUNDS; k++) {
			Case c = {same[i].text, same[i].tensors, same[i].ranges, NULL};
			run_case(&c, same[i].prelude, same[i].same, i * ROUNDS + k);
		}
}

int main(void) {
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_cases), cmocka_unit_test(test_same)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

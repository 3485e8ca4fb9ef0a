/* std_layers.h: for tests: every layer, activation and loss of std in small programs, and what they are differentiated by.
 *
 * Everything is a parameter of the model (whole numbers: a state), so that one train block gives all derivatives. */
#ifndef NNC_TEST_STD_LAYERS_H
#define NNC_TEST_STD_LAYERS_H

#include "nn_text.h"

/* floats: "x[2, 5] w[3]" are differentiated by; body: defines y, and f where it calls a layer.  more: other declarations. */
typedef struct LayerCase { const char *floats, *body, *more; } LayerCase;

static const LayerCase layer_cases[] = {
	{"x[2, 3]", "let f = dense(_, 4)\nlet y = f(x)", NULL},
	{"x[2, 5, 6, 2]", "let f = conv2d(_, 3, 3)\nlet y = f(x)", NULL},
	{"x[2, 5, 4, 2]", "let f = conv2d(_, 2, [3, 2], stride = [2, 1], pad = 1, bias = false)\nlet y = f(x)", NULL},
	{"x[2, 5, 5, 2]", "let f = conv2d(_, 2, 2, dilation = 2, pad = \"same\")\nlet y = f(x)", NULL},
	{"x[2, 4, 4, 4]", "let f = conv2d(_, 4, 3, groups = 2, stride = 2, pad = 1)\nlet y = f(x)", NULL},
	{"x[2, 3, 2, 3]", "let f = conv2d(_, 4, 1)\nlet y = f(x)", NULL},
	{"x[2, 7, 2]", "let f = conv1d(_, 3, 3, stride = 2, pad = \"same\")\nlet y = f(x)", NULL},
	{"x[2, 6, 4]", "let f = conv1d(_, 2, 3, dilation = 2, pad = 2, groups = 2)\nlet y = f(x)", NULL},
	{"x[2, 4, 5, 2]", "let f = depthwise_conv2d(_, 3, pad = 1, stride = 2, multiplier = 2)\nlet y = f(x)", NULL},
	{"x[2, 3, 2, 2]", "let f = conv_transpose2d(_, 3, 3, stride = 2, pad = 1, extra = 1)\nlet y = f(x)", NULL},
	{"x[2, 3, 2, 2]", "let f = conv_transpose2d(_, 2, [2, 3], stride = 2, pad = \"same\")\nlet y = f(x)", NULL},
	{"x[2, 5, 4, 2]", "let y = max_pool(x, 2)", NULL},
	{"x[2, 5, 4, 2]", "let y = max_pool(x, 3, stride = 2, pad = \"same\")", NULL},
	{"x[2, 7, 2]", "let y = max_pool(x, 3, stride = 2, pad = 1)", NULL},
	{"x[2, 5, 4, 2]", "let y = avg_pool(x, [3, 2], stride = 1)", NULL},
	{"x[2, 5, 4, 2]", "let y = avg_pool(x, 3, stride = 2, pad = \"same\")", NULL},
	{"x[2, 5, 2]", "let y = avg_pool(x, 2, pad = 1, count_pad = true)", NULL},
	{"x[2, 3, 2, 2]", "let y = global_avg_pool(x)", NULL},
	{"x[2, 3, 2, 2]", "let y = global_max_pool(x)", NULL},
	{"x[2, 3, 2]", "let y = flatten(x)", NULL},
	{"x[5, 3]", "let f = batch_norm(_)\nlet y = f(x)", NULL},
	{"x[2, 2, 3, 2]", "let f = batch_norm(_, momentum = 0.9, eps = 0.1)\nlet y = f(x)", NULL},
	{"x[4, 2]", "let f = batch_norm(_, scale = false)\nlet y = f(x)", NULL},
	{"x[2, 3, 4]", "let f = layer_norm(_)\nlet y = f(x)", NULL},
	{"x[3, 4]", "let f = layer_norm(_, shift = false)\nlet y = f(x)", NULL},
	{"x[2, 3, 4]", "let f = group_norm(_, 2)\nlet y = f(x)", NULL},
	{"x[2, 3, 4]", "let f = rms_norm(_)\nlet y = f(x)", NULL},
	{"x[3]", "let f = embedding(_, 5, 3)\nlet y = f(t)[.., 0..3] * x", "state t: i32[2, 3] = 0"},
	{"q[1, 3, 2, 2] k[1, 3, 2, 2] v[1, 3, 2, 3]", "let y = attend(q, k, v)", NULL},
	{"q[1, 3, 2, 2] k[1, 3, 2, 2] v[1, 3, 2, 3]", "let y = attend(q, k, v, causal = true)", NULL},
	{"x[2, 3, 4]", "let f = attention(_, 2, causal = true)\nlet y = f(x)", NULL},
	{"x[2, 3, 2]", "let f = rnn(_, 2)\nlet y = f(x)", NULL},
	{"x[2, 3, 2]", "let f = lstm(_, 2)\nlet y = f(x)", NULL},
	{"x[2, 3, 2]", "let f = gru(_, 2, reversed = true)\nlet y = f(x)", NULL},
	{"x[2, 3, 2]", "let f = rnn(_, 2, act = relu, bias = false)\nlet y = last_step(f(x))", NULL},
	{"x[3, 4]", "let y = dropout(x, 0.5)", NULL},
	{"x[2, 3, 4]", "let f = attention(_, 2, rate = 0.25)\nlet y = f(x)", NULL},
	{"x[2, 3]", "let y = softmax(x)", NULL},
	{"x[2, 3, 2]", "let y = softmax(x, axis = 1)", NULL},
	{"x[2, 3, 2]", "let y = log_softmax(x, axis = 0)", NULL},
	{"x[2, 4]", "let h = where(x > 0.3, -inf, x)\nlet y[b, j] = softmax(h[b, ..])[j]", NULL},
	{"x[2, 4]", "let y = relu(x)", NULL},
	{"x[2, 4]", "let y = leaky_relu(x)", NULL},
	{"x[2, 4]", "let y = elu(x)", NULL},
	{"x[2, 4]", "let y = gelu(x)", NULL},
	{"x[2, 4]", "let y = gelu_tanh(x)", NULL},
	{"x[2, 4]", "let y = sigmoid(x)", NULL},
	{"x[2, 4]", "let y = silu(x)", NULL},
	{"x[2, 4]", "let y = softplus(x)", NULL},
	{"x[2, 4]", "let y = hard_sigmoid(3 * x)", NULL},
	{"a[3, 2] b[3, 2]", "let y = mse(a, b)", NULL},
	{"a[3, 2] b[3, 2]", "let y = mae(a, b)", NULL},
	{"a[3, 2] b[3, 2]", "let y = huber(a, b, delta = 0.5)", NULL},
	{"a[3, 2] b[3, 2]", "let y = soft_cross_entropy(a, b, smoothing = 0.1)", NULL},
	{"a[3, 2] b[3, 2]", "let y = binary_cross_entropy(a, b, smoothing = 0.1)", NULL},
	{"a[3, 2] b[3, 2]", "let y = hinge(a, b)", NULL},
	{"a[3, 2] b[3, 2]", "let y = cosine_similarity(a, b)", NULL},
	{"a[3, 2] b[3, 2]", "let y = kl_divergence(softmax(a), softmax(b))", NULL},
	{"a[2, 3]", "let y = cross_entropy(a, t)", "state t: i32[2] = 0"},
	{"a[2, 3] c[2]", "let y = cross_entropy(a, t, weight = c, smoothing = 0.1)", "state t: i32[2] = 0"},
	{"a[2, 3] c[2]", "let y = nll(log_softmax(a), t, weight = c)", "state t: i32[2] = 0"},
};

/* A train block whose loss is a scalar that every element of y moves otherwise; second: one that every element of that one's
 * gradient moves. */
MAYBE_UNUSED static const char *layer_program(Arena *arena, const LayerCase *c, bool second) {
	Given given[4];
	Text declared = {.arena = arena}, body = {.arena = arena};
	int n = read_floats(arena, c->floats, given);
	text_add(&declared, "%s\n", c->more ? c->more : "");
	for (int i = 0; i < n; i++) text_add(&declared, "param %s: %s = 0\n", given[i].name, given[i].dims);
	text_add(&body, "let t2 = s * 0\n");
	for (int i = 0; second && i < n; i++)
		text_add(&body, "t2 = t2 + sum(cos(grad(s, %s) + %d) * weights(grad(s, %s)))\n", given[i].name, i, given[i].name);
	if (second && strstr(c->body, "let f ="))
		text_add(&body, "for p in params(f) { t2 = t2 + sum(cos(grad(s, p)) * weights(grad(s, p))) }\n");
	return arena_printf(arena,
	                    "fn weights(x) {\nlet n = 1\nfor d in dims(x) { n = n * d }\n"
	                    "return reshape(cos(1.7 * (iota(n) as f32) + 1), dims(x))\n}\n"
	                    "data given { one: f32 = [1] }\n"
	                    "model m(one: [B]) -> [] {\n%s%s\nlet s = sum(weights(y) * (y + 0.3 * y * y))\n%sreturn %s\n}\n"
	                    "train { data = given; batch = 1; loss = m(one); optimizer = sgd() }\n",
	                    declared.data, c->body, body.data, second ? "t2" : "s");
}

/* The loss and its gradient by every parameter. */
MAYBE_UNUSED static Fn *layer_fn(Arena *arena, const LayerCase *c, bool second) {
	return run_passes(program_loss(read_program(arena, layer_program(arena, c, second)), 0, 1, true), 0, pass_count);
}

#endif

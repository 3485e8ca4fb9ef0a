/* contract_plan.c: how a product is tiled, blocked and packed.  In: a target and a Contract.  Out: a ContractPlan, a function of
 * these alone: shapes, strides, registers and cache sizes decide, no model does.
 *
 * The register tile is chosen by an estimate of cycles per k over all tiles: multiplications, loads, the latency of a chain and
 * the stream of B from the next cache.  Measured with 32 registers of 16 lanes: 6x4, 8x3 and 14x2 vectors reach 95 to 99 % of the
 * peak wherever the operands stay in L2 or L3; packing B pays when it is transposed, when its rows are a multiple of 2048 bytes
 * apart, and past about 5e8 products; packing A only when its rows are so, or when a small tile reads it down its columns.  With
 * 16 registers of 8 lanes, a panel being a line of cache wide: 6x2 reaches 88 to 97 %; B is packed for more than 24 tiles as
 * well (32x1024x256 reaches 79 % packed and 93 % not), and where A is packed too, for more than 4. */
#include "contract_parts.h"
#include "lower.h"

enum { MOST_VECTORS = 8, MOST_HEIGHT = 28, WANTED_CHAINS = 8 };
static const double big_product = 5e8;

/* Registers for sums and operands.  Words of a scalar machine are in those of integers, where addresses and counts are too. */
static int registers(const Target *target, const Contract *c) {
	if (!c->words || target->lanes > 1) return target->vector_registers;
	return MIN(target->vector_registers, target->pointer_bits == 32 ? 8 : 16);
}

/* Rows that fit the registers beside `vectors` of B, for each tap, and a broadcast element of A.  Lifted sums of words have a
 * row of their own, and a constant. */
static int most_rows(const Target *target, const Contract *c, const ContractPlan *plan, int vectors, int64_t taps) {
	bool lifted = c->words && words_are_lifted(target, c->words, c->words_b, plan->lanes);
	int rows = (registers(target, c) - vectors * (int)taps - 2 - (lifted ? vectors + 1 : 0)) / vectors;
	return MAX(1, MIN(rows, MOST_HEIGHT));
}

/* Turns of the loops around k that a microkernel runs. */
static int64_t turns_inside(const Contract *c, const ContractPlan *plan) {
	int64_t turns = 1;
	for (int i = c->naround - plan->inside; i < c->naround; i++) turns *= c->around[i].extent;
	return turns;
}

int64_t contract_call_terms(const Contract *c, const ContractPlan *plan) { return c->k * turns_inside(c, plan); }

/* Elements of A that a tile loads for one k, on average. */
static double elements_of_a(const Contract *c, const ContractPlan *plan, int rows) {
	int64_t row_at[MOST_ROWS], at[MOST_ROWS * MOST_TAPS];
	if (!plan->taps || plan->apart) return rows;
	for (int r = 0; r < rows; r++) row_at[r] = contract_row_of_a(c->a.row, c->a.group, c->a.group_row, r);
	return contract_tap_elements(row_at, rows, c->a.column, (int)c->k, at) / (double)c->k;
}

/* Loops around k in the microkernel: one, unless an operand is copied for each turn of it; where k is taps that rows share, and
 * so few terms, two. */
static void choose_inside(const Contract *c, ContractPlan *plan) {
	enum { SOME_ROWS = 4 };
	if (!c->naround || c->cut == c->naround || contract_is_short(&c->a) || contract_is_short(&c->b)) return;
	if (MAX(c->a.wide_within, c->b.wide_within) == c->naround) return;
	plan->inside = 1;
	if (c->k < 2 || c->k > MOST_TAPS || c->a.column == 0 || c->a.row == 0 || plan->unit >= MOST_ROWS) return;
	plan->taps = true;
	if (elements_of_a(c, plan, SOME_ROWS) >= SOME_ROWS) plan->taps = false;
	else plan->inside = MIN(MOST_INSIDE, c->naround - MAX(c->cut, MAX(c->a.wide_within, c->b.wide_within)));
}

/* Bytes of B per cycle from where it lies: 0 stands for the nearest cache, which costs nothing. */
static double stream_rate(const Target *target, const Contract *c, const ContractPlan *plan) {
	int64_t bytes = contract_call_terms(c, plan) * plan->panels * plan->panel_columns * 4;
	return bytes <= target->l1 / 2 ? 0 : bytes <= target->l2 ? 24 : 12;
}

/* Cycles for one k of a tile, when a cycle has as many loads as multiplications. */
static double tile_cycles(const Target *target, int rows, double elements, int vectors, double rate) {
	double each = 1.0 / target->multipliers, multiply = rows * vectors * each, load = (elements + vectors) * each;
	double stream = rate == 0 ? 0 : vectors * target->lanes * 4 / rate;
	return MAX(MAX(multiply, load), MAX(stream, WANTED_CHAINS / 2)) + 0.1 * load + 0.1 * stream;
}

Tiles contract_tiles(int64_t rows, int64_t height, int64_t unit) {
	int64_t units = divide_up(rows, unit), count = divide_up(units, MAX(1, height / unit));
	return (Tiles){count, units / count * unit, units % count};
}

static double row_range_cost(const Contract *c, const Target *target, const ContractPlan *plan, int64_t rows, int height) {
	Tiles tiles = contract_tiles(rows, height, plan->unit);
	double rate = stream_rate(target, c, plan);
	double cost = 0;
	for (int tall = 0; tall < 2; tall++) {
		int r = (int)tiles.base + tall * plan->unit;
		double count = tall ? (double)tiles.taller : (double)(tiles.count - tiles.taller);
		double elements = count > 0 ? elements_of_a(c, plan, r) : 0;
		for (int narrow = 0; narrow < 2 && count > 0; narrow++) {
			int v = plan->vectors - narrow;
			double panels = narrow ? (double)(plan->panels - plan->wide_panels) : (double)plan->wide_panels;
			if (panels > 0)
				cost += count * panels *
				        ((double)contract_call_terms(c, plan) * tile_cycles(target, r, elements, v, rate) + 20 + 2.5 * r * v);
		}
	}
	return cost;
}

static void set_panels(const Contract *c, ContractPlan *plan, int vectors) {
	int64_t total = divide_up(c->n, plan->lanes);
	plan->panels = divide_up(total, vectors);
	plan->vectors = (int)divide_up(total, plan->panels);
	plan->wide_panels = total - plan->panels * (plan->vectors - 1);
	plan->panel_columns = (int64_t)plan->vectors * plan->lanes;
}

static void add_height(ContractPlan *plan, int height) {
	for (int i = 0; i < plan->nheights; i++)
		if (plan->heights[i] == height) return;
	plan->heights[plan->nheights++] = height;
}

/* Microkernels a choice needs: each costs some milliseconds of compile time. */
static int kernel_count(const Contract *c, const ContractPlan *plan, int height) {
	bool seen[MOST_HEIGHT + 2] = {0};
	int heights = 0;
	for (int i = 0; i < c->nrow_counts; i++) {
		Tiles tiles = contract_tiles(c->row_counts[i], height, plan->unit);
		for (int tall = 0; tall < (tiles.taller ? 2 : 1); tall++) {
			int64_t h = tiles.base + tall * plan->unit;
			heights += !seen[h];
			seen[h] = true;
		}
	}
	return heights * (plan->wide_panels < plan->panels ? 2 : 1);
}

/* Returns the cycles that it is estimated to take. */
static double choose_tile(const Target *target, const Contract *c, ContractPlan *plan) {
	double best = -1;
	int best_vectors = 1, best_height = 1;
	for (int vectors = 1; vectors <= MIN(MOST_VECTORS, divide_up(c->n, plan->lanes)); vectors++) {
		set_panels(c, plan, vectors);
		if (plan->vectors != vectors) continue; /* the same panels as a smaller number gives */
		bool shared = plan->taps && !plan->apart, tight = shared || c->words;
		int64_t taps = shared ? c->k : 1;
		if (vectors > 1 && plan->unit * vectors + 2 > MAX_CARRIED) break;
		if (tight && vectors > 1 && vectors * (taps + 1) + 2 > registers(target, c)) break;
		int most = MAX(plan->unit, most_rows(target, c, plan, vectors, taps));
		for (int height = plan->unit; height <= most; height += plan->unit) {
			double cost = 0;
			for (int i = 0; i < c->nrow_counts; i++) cost += row_range_cost(c, target, plan, c->row_counts[i], height);
			cost *= 1 + 0.02 * kernel_count(c, plan, height);
			if (best < 0 || cost < best) best = cost, best_vectors = vectors, best_height = height;
		}
	}
	set_panels(c, plan, best_vectors);
	for (int i = 0; i < c->nrow_counts; i++) {
		Tiles tiles = contract_tiles(c->row_counts[i], best_height, plan->unit);
		add_height(plan, (int)tiles.base);
		if (tiles.taller) add_height(plan, (int)tiles.base + plan->unit);
	}
	for (int i = 0; i < plan->nheights; i++) plan->height = MAX(plan->height, plan->heights[i]);
	return best;
}

static bool is_aliasing(int64_t stride) { return stride && stride % 512 == 0; }

static void choose_packing(const Target *target, const Contract *c, ContractPlan *plan, int64_t rows) {
	double products = (double)rows * (double)c->n * (double)c->k;
	int64_t tiles = divide_up(rows, plan->height);
	int tail = (int)(c->n % plan->lanes);
	bool big = products > big_product && tiles > 4;
	bool long_down = c->a.column != 1 && c->k > 256;   /* A is packed as well, and in short passes */
	bool few_registers = target->vector_registers < 32 && tiles > (long_down ? 4 : 24) && c->n > plan->panel_columns;
	bool awkward_tail = tail && c->b.pad < plan->lanes - tail && !target->has_mask && tiles > 2;
	bool aliasing = is_aliasing(c->b.row) && c->k > 128 && tiles > 4;
	bool short_a = contract_is_short(&c->a), short_b = contract_is_short(&c->b);
	plan->pack_b = short_b || c->b.fill || c->b.column != 1 || big || few_registers || awkward_tail || aliasing;
	if (c->naround) {   /* packers know one k */
		if (c->a.fill || c->b.fill || (c->b.column != 1 && !short_b))
			die("contract: a sum of several loops over an operand that must be packed");
		plan->pack_a = short_a, plan->pack_b = short_b;
		return;
	}
	bool a_aliasing = is_aliasing(c->a.column == 1 ? c->a.row : c->a.column) && c->k > 128 && plan->panels > 4;
	/* A read down its columns takes a line of cache for each k.  They are read once for each panel, so they should stay beside
	 * the panel of B in the nearest cache. */
	bool leaves_cache = c->a.column != 1 && 2 * c->k * 64 + c->k * plan->panel_columns * 4 > target->l1 / 2 && plan->panels > 3;
	plan->pack_a = short_a || c->a.fill || a_aliasing || leaves_cache;
}

/* k in equal passes, few of them: a pass is a trip of C to memory and back.  Past 4096, passes divide the blocks of 4096. */
static void choose_k_block(const Target *target, const Contract *c, ContractPlan *plan, int64_t rows) {
	bool few_registers = target->vector_registers < 32;
	int64_t long_k = few_registers ? 800 : 2048, block = few_registers ? 512 : 1024;
	if (c->naround) plan->k_block = c->cut == c->naround ? MIN(c->k, c->per_block) : c->k;
	else if (c->k <= long_k || rows <= 3 * plan->height) plan->k_block = MIN(c->k, c->per_block);
	else if (c->k > c->per_block) plan->k_block = block;
	else plan->k_block = round_up(divide_up(c->k, divide_up(c->k, block)), 16);
	/* A read down its columns, not packed: what a pass reads of it stays in the second cache, since a line serves several
	 * tiles. */
	int64_t fits = MAX(128, target->l2 / 2 / (round_up(c->m, LINE_FLOATS) * 4) / 16 * 16);
	if (!c->naround && c->a.column != 1 && !plan->pack_a && plan->k_block > fits) plan->k_block = MIN(fits, c->per_block);
}

/* k of one pass, as far as the microkernel runs it. */
static int64_t pass_terms(const Contract *c, const ContractPlan *plan) {
	return plan->k_block * turns_inside(c, plan);
}

/* How many passes over C there are, and how many in each block of the sum. */
static void count_passes(const Contract *c, ContractPlan *plan) {
	int64_t in_block = 1, all = 1;
	for (int i = 0; i <= c->naround; i++) {
		int64_t extent = i < c->naround ? c->around[i].extent : c->k, step = i < c->naround ? 1 : plan->k_block;
		if (i < c->naround && i >= c->naround - plan->inside) step = i == c->cut ? MIN(c->per_block, extent) : extent;
		all *= divide_up(extent, step);
		if (i >= c->cut) in_block *= divide_up(i == c->cut ? MIN(c->per_block, extent) : extent, step);
	}
	plan->chained = all > 1;
	plan->waiting = in_block > 1 && all > in_block;
}

/* Columns per column block: a block of B stays in L2 while tiles of rows pass over it; rows handed to the epilogue stay in L1 or
 * near it. */
static void choose_panel_block(const Target *target, const Contract *c, ContractPlan *plan, int64_t rows) {
	int64_t block = plan->panels, l2 = MAX(target->l2, target->least_cache);
	int64_t part = contract_is_short(&c->b) ? l2 * 3 / 8 : plan->pack_b ? l2 * 5 / 8 : l2 / 2;
	if (plan->pack_b || rows > 4 * plan->height)
		block = MIN(block, MAX(1, part / (pass_terms(c, plan) * plan->panel_columns * 4)));
	if (c->epilogue) {
		int64_t wanted = MAX(512, l2 / 8 / (plan->height * 4));
		int64_t limit = MAX(1, divide_up(wanted, plan->panel_columns));
		if (c->n > 2 * wanted) block = MIN(block, limit);
	}
	plan->panel_block = divide_up(plan->panels, divide_up(plan->panels, block));
	plan->epilogue_columns = plan->panel_block * plan->panel_columns;
}

/* Row blocks matter only when sums wait in scratch between passes. */
static void choose_row_block(const Target *target, const Contract *c, ContractPlan *plan, int64_t rows) {
	plan->row_block = c->m;
	if (!plan->waiting && !(plan->chained && c->c_dropped)) return;
	int64_t bytes = plan->panel_block * plan->panel_columns * 4 * MAX(1, c->turns.extent);
	int64_t wanted = MAX(target->l2, target->least_cache) / 4 / bytes / plan->height * plan->height;
	plan->row_block = MIN(rows, MAX(wanted, 4 * plan->height));
}

/* What follows from k_block. */
static void choose_blocks(const Target *target, const Contract *c, ContractPlan *plan, int64_t rows) {
	count_passes(c, plan);
	plan->b_ahead = stream_rate(target, c, plan) > 0;
	choose_panel_block(target, c, plan, rows);
	choose_row_block(target, c, plan, rows);
}

/* Both operands packed, A down its columns: A is packed for every column block, B for every row block, and C waits between
 * passes.  Short passes make few column blocks, but where C waits in scratch many row blocks. */
static void choose_passes(const Target *target, const Contract *c, ContractPlan *plan, int64_t rows) {
	int64_t whole = MIN(c->k, c->per_block);
	double best = -1;
	ContractPlan chosen = *plan;
	for (int64_t passes = 1; passes <= 8 && whole / passes >= 128; passes++) {
		ContractPlan p = *plan;
		p.k_block = passes == 1 ? whole : round_up(divide_up(whole, passes), 16);
		choose_blocks(target, c, &p, rows);
		double column_blocks = (double)divide_up(p.panels, p.panel_block), row_blocks = (double)divide_up(rows, p.row_block);
		double a = (double)rows * (double)c->k, b = (double)c->n * (double)c->k, sums = (double)rows * (double)c->n;
		double cost = 2 * column_blocks * a + row_blocks * b + (double)(passes - 1) * sums;
		if (best < 0 || cost < best) best = cost, chosen = p;
	}
	*plan = chosen;
}

static void place_scratch(const Contract *c, ContractPlan *plan) {
	size_t at = 0;
	int64_t wide = plan->panel_block * plan->panel_columns;
	if (plan->pack_a) {
		plan->a_at = at;
		int64_t row = contract_a_row(c, plan), step = contract_a_step(c, plan);
		at += whole_lines((size_t)((row == 1 ? step * plan->k_block : row * plan->height) * 4));
	}
	if (plan->pack_b) {
		plan->b_at = at;
		at += whole_lines((size_t)(wide * plan->k_block * 4));
	}
	if (c->b.fill && c->b.down) {
		plan->b_filled_at = at;
		at += whole_lines((size_t)(contract_b_column(c, plan) * plan->panel_columns * 4));
	}
	plan->c_stride = c->c_row;
	if (c->c_dropped) {
		int64_t rows = plan->chained ? (plan->row_block + plan->height) * MAX(1, c->turns.extent) : plan->height;
		plan->c_at = at;
		plan->run = c->c_run && !plan->chained && plan->panel_block == plan->panels;
		plan->c_stride = plan->run ? c->n : wide + (is_aliasing(wide) ? 16 : 0);
		at += whole_lines((size_t)(plan->c_stride * rows * 4)) + (plan->run ? 64 : 0);   /* a row's last vector is whole */
	}
	if (plan->waiting) {
		plan->chain_at = at;
		plan->chain_stride = wide + (is_aliasing(wide) ? 16 : 0);
		at += whole_lines((size_t)(plan->chain_stride * (plan->row_block + plan->height) * MAX(1, c->turns.extent) * 4));
	}
	plan->scratch_bytes = at;
}

static int power_of_two(int64_t at_least, int most) {
	int lanes = 1;
	while (lanes < at_least && lanes < most) lanes *= 2;
	return lanes;
}

/* What is known before tiles are chosen. */
static ContractPlan start_plan(const Target *target, const Contract *c) {
	ContractPlan plan = {.cut = c->cut, .per_block = c->per_block};
	plan.lanes = power_of_two(c->n, MAX(1, target->lanes));
	plan.unit = (int)MAX(1, c->a.group);
	choose_inside(c, &plan);
	return plan;
}

/* Is the transpose computed in clearly fewer cycles? */
static bool better_turned(const Target *target, const Contract *c, double cycles) {
	Contract turned = contract_turned(c);
	turned.row_counts[0] = turned.m, turned.nrow_counts = 1;
	ContractPlan plan = start_plan(target, &turned);
	return choose_tile(target, &turned, &plan) + contract_turning_cycles(c) < 0.85 * cycles;
}

ContractPlan contract_plan(const Target *target, const Contract *given) {
	ContractPlan plan = {0};
	Contract c = *given;
	bool may_turn = contract_may_turn(given);
	if (c.m < 1 || c.n < 1 || c.k < 1) die("contract %lld x %lld x %lld", (long long)c.m, (long long)c.n, (long long)c.k);
	if (!c.nrow_counts) c.row_counts[0] = c.m, c.nrow_counts = 1;
	int64_t rows = 1;
	for (int i = 0; i < c.nrow_counts; i++) rows = MAX(rows, c.row_counts[i]);
	if (!c.per_block) c.cut = c.naround, c.per_block = CONTRACT_BLOCK;
	if (c.dot) {
		contract_dot_plan(target, &c, &plan);
		return plan;
	}
	plan = start_plan(target, &c);
	double cycles = choose_tile(target, &c, &plan);
	if (plan.taps && target->vector_registers < 32) {
		ContractPlan apart = start_plan(target, &c);
		apart.apart = true;
		double other = choose_tile(target, &c, &apart);
		if (other < cycles) plan = apart, cycles = other;
	}
	if (may_turn && better_turned(target, &c, cycles)) return contract_turned_plan(target, &c);
	choose_packing(target, &c, &plan, rows);
	choose_k_block(target, &c, &plan, rows);
	choose_blocks(target, &c, &plan, rows);
	if (plan.pack_a && plan.pack_b && contract_a_down(&c)) choose_passes(target, &c, &plan, rows);
	place_scratch(&c, &plan);
	plan.split_columns =
	    plan.panels > 1 && (rows < 2 * plan.height || (plan.pack_b && rows < 8 * plan.height && plan.panels >= 4));
	return plan;
}

int64_t contract_panel_column(const ContractPlan *plan, int64_t panel) {
	return (panel * plan->vectors - MAX(0, panel - plan->wide_panels)) * plan->lanes;
}

PanelShape contract_panel_shape(const Contract *c, const ContractPlan *plan, PanelKind kind) {
	bool last_is_wide = plan->wide_panels == plan->panels;
	PanelShape shape = {.vectors = plan->vectors - (kind == PANEL_NARROW || (kind == PANEL_LAST && !last_is_wide))};
	int tail = (int)(c->n % plan->lanes);
	if (kind != PANEL_LAST || !tail) return shape;
	if (!plan->pack_b && c->b.pad < plan->lanes - tail) shape.b_tail = tail;
	/* rows of a run are stored in order: each mends what the end of the one before has spoilt, if that is its own beginning */
	bool spoils = c->c_dropped ? plan->run && plan->panels > 1 : c->c_pad < plan->lanes - tail;
	if (spoils) shape.c_tail = tail;
	return shape;
}

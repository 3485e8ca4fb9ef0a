/* contract_parts.h: the pieces of the contraction nest; inside contract*.c only. */
#ifndef NNC_CONTRACT_PARTS_H
#define NNC_CONTRACT_PARTS_H

#include "contract.h"

/* Kinds of column panels: wide, narrow (a vector less), and the last one, whose last vector may be partial. */
typedef enum PanelKind { PANEL_WIDE, PANEL_NARROW, PANEL_LAST, PANEL_KINDS } PanelKind;
typedef struct PanelShape { int vectors, b_tail, c_tail; } PanelShape;   /* tails: lanes of the last vector, 0 when whole */
PanelShape contract_panel_shape(const Contract *c, const ContractPlan *plan, PanelKind kind);

/* A microkernel: rows x (vectors * lanes) of C over a run of k.
 *     void (ptr a, ptr b, index k, index a_step, index b_step, ptr c, index c_stride
 *           [, index segments, index a_segment, index b_segment].. [, ptr chain, index chain_stride, i1 add] [, ptr next])
 * A's rows are a_row apart (a constant), or those of a group are, and the groups group_row.  `a_ahead`, `b_ahead` fetch A, B
 * some k early, `by_segment` in the next segment: the machine does not foresee long strides.  Chained kernels start from *chain
 * (NULL: zeros) and, with add, put C + sum into C.  Those with loops inside run over k in each of `segments` places, for each of
 * as many loops, innermost first.  taps: k, unrolled (apart: one after the other); steps are then a_step and b_step here.
 * next_step: > 0: each turn of the innermost loop asks for so many floats of what will be read after this. */
typedef struct TileShape {
	int rows, lanes;
	PanelShape panel;
	int64_t a_row, group_row;
	int group;               /* or 0 */
	int inside, taps;
	int64_t a_step, b_step, next_step;
	DType words, words_b;    /* as in Contract */
	bool apart, chained, a_ahead, b_ahead, by_segment;
} TileShape;
enum { MOST_INSIDE = 2, TILE_PARAMETERS = 11 + 3 * MOST_INSIDE };
enum { SHORT_K = 32 };   /* k that is over before what it asks for has come */
/* Its parameters, and how many: the one list of them. */
unsigned contract_tile_type(Emit *e, int inside, bool chained, bool next, LLVMTypeRef *type);
Value contract_tile(Emit *e, TileShape shape);
/* Where row `r` of A is from row 0. */
int64_t contract_row_of_a(int64_t row, int64_t group, int64_t group_row, int r);
/* Elements of A that `rows` rows of MOST_TAPS or fewer taps have, each listed once in the order of the taps; their number. */
enum { MOST_TAPS = 8, MOST_ROWS = 32 };
int contract_tap_elements(const int64_t *row_at, int rows, int64_t step, int taps, int64_t *at);

/* Packers.  B: void (ptr to, ptr from, index k, index columns): k rows of one panel at stride plan->panel_columns.
 * A: void (ptr to, ptr from, index k): the rows of one tile, at plan_a_row / plan_a_step. */
Value contract_pack_b(Emit *e, const Contract *c, const ContractPlan *plan, PanelKind kind);
Value contract_pack_a(Emit *e, const Contract *c, const ContractPlan *plan, int rows);

/* k of one call of a microkernel. */
int64_t contract_call_terms(const Contract *c, const ContractPlan *plan);

/* Strides of A as the microkernel sees it: packed or in place. */
int64_t contract_a_row(const Contract *c, const ContractPlan *plan);
int64_t contract_a_step(const Contract *c, const ContractPlan *plan);
/* Columns of B's source as the transposing packer sees it: in memory, or filled `down` into scratch. */
int64_t contract_b_column(const Contract *c, const ContractPlan *plan);
bool contract_a_down(const Contract *c);      /* packed A: m is the inner index */

/* How rows are dealt out to tiles: `count` of them, of `base` rows, the first `taller` a unit more. */
typedef struct Tiles { int64_t count, base, taller; } Tiles;
Tiles contract_tiles(int64_t rows, int64_t height, int64_t unit);

/* contract_turn.c: products that are better computed the other way round.  May it be?  The Contract of the transpose; what
 * turning that costs; the plan of all of it. */
bool contract_may_turn(const Contract *c);
Contract contract_turned(const Contract *c);
double contract_turning_cycles(const Contract *c);
ContractPlan contract_turned_plan(const Target *target, const Contract *c);
void contract_emit_turned(Emit *e, const Contract *c, const ContractPlan *plan, ContractArguments x);

void contract_dot(Emit *e, const Contract *c, const ContractPlan *plan, ContractArguments x);
void contract_dot_plan(const Target *target, const Contract *c, ContractPlan *plan);

#endif

/* scan.h: a `scan` while its body is elaborated: scan.c, scan_body.c, and what others ask of them.  Part of session.h. */
#ifndef NNC_SCAN_H
#define NNC_SCAN_H

#include "front.h"

/* What one name takes from step to step: it stands in the body as `slot`, is `first` before and `next` after a step. */
typedef struct ScanSlot { const char *name; Val *slot, *first, *next; } ScanSlot;
typedef struct ScanCarry { Name name; Binding *binding; Value first; Span at; Val *slot; } ScanCarry;
typedef struct ScanEmit {
	Name name;
	Value value;                 /* of a step */
	int place;                   /* of the axis of this scan among the dims of the whole */
	const IndexList *indices;
} ScanEmit;
/* A `scan` whose body is being elaborated. */
typedef struct Scan {
	struct Scan *outer;          /* in this build */
	const Stmt *stmt;
	const Activation *activation;
	Scope *scope, *body;         /* around it, and of its body */
	IndexVar *index;
	VEC(ScanCarry) carries;
	VEC(ScanSlot) states;        /* read in the body; number[i]: their persistent index */
	VEC(int) numbers;
	VEC(ScanEmit) emits;
} Scan;
void exec_emit(Elab *e, Scope *scope, const Stmt *stmt);
/* May this assignment, of a name that is bound, stand where it stands?  Reports. */
bool scan_lets_assign(Elab *e, Scope *scope, const Stmt *stmt, const Binding *b);
/* A persistent tensor that can change from step to step, before it is read or written. */
void scan_enter_state(Elab *e, int index);
/* After an error about an unknown name: that a scan emits it. */
bool help_emitted(Elab *e, const char *name);
/* The number of the step among those of all scans around it; NULL after an error, a constant outside. */
Val *scan_step(Elab *e, Span span);
/* The values between the slots (and `index`) and what a step makes of them become the body of one Scan value.  Slots that do
 * not change are constants. */
typedef struct ScanBody {
	Val *index;
	const char *index_name;
	VEC(ScanSlot) carries, constants;
	VEC(Output) emitted;
	int64_t count;
	bool reversed;
} ScanBody;
Val *scan_extract(Fn *f, const ScanBody *b);
/* Is the slot read as this dtype only? */
bool scan_read_as(const Fn *f, const Val *slot, DType dtype);

#endif

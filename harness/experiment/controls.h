/* controls.h - the cells that show whether an experiment can tell good caches from bad ones, beside those that its spec names.
 * The plan adds them to every pairing of a probe that has a control_metric, and the report says what came of them. */
#ifndef KVANT_CONTROLS_H
#define KVANT_CONTROLS_H

/* What a cell can be a control as, by the name that the store has for it. All follow the default policy: no sinks, no window, seed 0. */
#define CONTROL_AGAIN "f16_again"                  /* the reference once more, which must agree with it bit for bit */
#define CONTROL_Q8_0 "q8_0"                        /* expected to be no worse than q4_0, within the error */
#define CONTROL_Q4_0 "q4_0"
#define CONTROL_HADAMARD "q4_0_hadamard"           /* the baseline that the field asks for */
#define CONTROL_BROKEN "control_broken"            /* must rank last */

#endif

/* Every kind of predictor learns from a text what an untrained one does not know. */
#include "train_case.h"

/* Of the 8 tokens of a line three are one of four, the rest is known: so the loss of who copies is
 * 3/8 ln 4 = 0.52, and of who knows all but the copied letters 6/8 ln 4 = 1.04 at least. A window
 * of 16 begins anywhere, so that of its first tokens some cannot be known: about a quarter of a
 * window's copied letters have no letter to copy from. 0.75 is what only copying reaches; before
 * training the loss is near ln 7 = 1.95, of 6 characters and the end. Who learns gets there within
 * 800 steps; 2,400 leave room for other orders of sums on other machines. */
static void repetition_is_learned(void **state)
{
    (void)state;
    for (size_t i = 0; i < TRAIN_VARIANTS; i++) {
        trib_train_options o = train_options_of(&train_variants[i]);
        trib_train_score before, after;
        trib_error error = {0};
        o.layers = strcmp(o.model, "transformer") == 0 ? 2 : 1;
        o.positions = "sinusoidal";
        o.width = 64;
        o.heads = o.kv_heads = 4;
        o.accumulate = 1;
        o.batch = 16;
        o.warmup = 50;
        o.dropout = 0;
        o.lr = o.min_lr = 0.003f;
        o.steps = 2400;
        o.threads = 2;
        trib_trainer *t = train_open(&o);
        assert_int_equal(trib_trainer_evaluate(t, 4, &before, &error), TRIB_OK);
        assert_true(before.loss > 1.5);
        do {
            train_steps(t, 100);
            assert_int_equal(trib_trainer_evaluate(t, 4, &after, &error), TRIB_OK);
        } while (after.loss >= 0.75 && trib_trainer_position(t) < o.steps);
        print_message("# %s: loss %.4f, and %.4f after %zu steps\n", train_variants[i].name,
                      before.loss, after.loss, trib_trainer_position(t));
        assert_true(after.loss < 0.75);
        trib_trainer_close(t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(repetition_is_learned)};
    return cmocka_run_group_tests_name("repetition", tests, train_setup, train_teardown);
}

"""The five walks of a reader: where the data start, where they end, and every stop between. `walk.py` counts and checks them.

A stop is a function (or a spec, by its class) that the data pass through: every one in another file than its caller's,
and of the caller's own file those in which data change form or that lead on to another file. Stops stand in the order
of the calls, depth first, each at its first call. A line is one visit of a file; a new line is a hop.

Left out is what a reader may skip without losing the data: charging the meter, crash points, help texts, checks that only
raise, what prepares or measures the machine and never holds the data (a program's walls and control groups), and what another
walk shows from its beginning (the arm's walk ends at `DPO.train`, where the pair's goes on).

Where code moves, move its name here; `preflab.` and `src/` are left out. `f as g`: the caller calls it `g`.
"""

from __future__ import annotations

from typing import NamedTuple


class Counts(NamedTuple):
    stops: int
    files: int
    lines: int
    hops: int
    climbs: int


class Stop(NamedTuple):
    """`definition` in `file`, as `name` or `Class.name`; `called_as` where its caller has another name for it."""

    file: str
    definition: str
    called_as: str = ""


class Walk(NamedTuple):
    """`limits`: the most that each count may be; `before`: what it was before the reorganisation."""

    name: str
    title: str
    before: Counts
    limits: Counts
    visits: str

    @property
    def stops(self) -> list[Stop]:
        """The stops of `visits`, whose lines are `file: definition, definition as name, ...`."""
        stops: list[Stop] = []
        for line in filter(None, map(str.strip, self.visits.splitlines())):
            file, _, definitions = line.partition(":")
            for words in definitions.split(","):
                definition, _, name = words.strip().partition(" as ")
                stops.append(Stop(file, definition, name))
        return stops


WALKS = (
    Walk(
        "pair",
        "from a line of a preference file to its gradient (testbed jsonl, method dpo)",
        before=Counts(stops=46, files=16, lines=1920, hops=32, climbs=17),
        limits=Counts(stops=84, files=33, lines=3810, hops=55, climbs=23),
        visits="""
            arm/execute.py: execute
            arm/open.py: open_arm
            testbeds/jsonl.py: Jsonl.open, Jsonl._read_splits, Jsonl._read_rows
            data/files.py: read_source, read_file
            data/lines.py: parse_lines, _parse_line
            data/reading.py: FileReading.read_rows, FileReading.read_all, FileReading.read
            data/shapes.py: recognise, _shapes_with
            data/pairs.py: read_pair
            data/prompts.py: read_question
            data/turns.py: read_prompt_turns, read_turns
            data/lines.py: check_text
            data/turns.py: read_answer
            data/pairs.py: _make_pair
            data/prompts.py: make_prompt
            data/row.py: make_prompt_id
            testbeds/provenance.py: make_turn_key, place_split
            testbeds/jsonl.py: Jsonl._make_disjoint
            testbeds/dialogues.py: Dialogues.__init__
            arm/execute.py: train_and_measure, check_data
            arm/data.py: check_training_rows, training_rows, preferences_of
            arm/fitting.py: FittedTestbed.preferences
            testbeds/dialogues.py: Dialogues.preferences
            arm/fitting.py: FittedTestbed._fit, Fitting.fit, Fitting._drop_refused
            models/refusal.py: RefusalFinder.find, find_refusal
            models/rewriting.py: is_rewritten
            arm/fitting.py: Fitting._fit_lengths, Fitting._fits, Fitting.cut
            arm/cutting.py: cut_answers, is_same_after_cut
            arm/execute.py: method_parts
            methods/dpo.py: DPO.train
            methods/base.py: Parts.buy
            train/seeds.py: Seeds.draw
            train/labels.py: Labels.buy
            methods/dpo.py: reference_logprobs
            models/forward.py: by_micro_batch
            encoded.py: EncodedRows.select
            batch.py: collate_pairs
            models/lm.py: LanguageModel.encode, LanguageModel.encode_prompt, LanguageModel.encode_completion
            models/chat.py: encode_prompt, _encode_prompt, render, encode_text, encode_answer
            batch.py: collate, micro_batches
            models/forward.py: pair_logprobs, sequence_logprobs, token_logprobs, states
            models/packing.py: arrange
            models/layout.py: packed_layout
            models/packing.py: run_layout
            models/forward.py: _chunk
            ops.py: sequence_sum
            methods/base.py: Parts.learner
            train/learner.py: Learner.__init__
            losses/preference.py: preference_loss
            train/loop.py: Run.steps
            train/seeds.py: Seeds.take_batch
            batch.py: PairBatch.select
            train/learner.py: Learner.step
            methods/dpo.py: pair_terms
            losses/preference.py: dpo_loss
            ops.py: reduce
            train/learner.py: Learner._update
        """,
    ),
    Walk(
        "rollout",
        "from a prompt to the gradient of the answer to it (method ppo, reward tests)",
        before=Counts(stops=73, files=21, lines=2128, hops=55, climbs=35),
        limits=Counts(stops=83, files=27, lines=2640, hops=63, climbs=37),
        visits="""
            methods/ppo.py: PPO.train
            methods/base.py: Parts.prompts
            arm/fitting.py: FittedTestbed.prompts
            testbeds/dialogues.py: Dialogues.prompts
            arm/fitting.py: FittedTestbed._fit, Fitting.fit, Fitting._drop_refused
            models/refusal.py: RefusalFinder.find, find_refusal
            models/rewriting.py: is_rewritten
            arm/fitting.py: Fitting._fit_lengths, Fitting._fits
            methods/ppo.py: open_critic
            models/heads.py: make_critic
            methods/base.py: Parts.learner
            train/learner.py: Learner.__init__
            models/reference.py: Reference.__init__
            train/labels.py: Labels.share_of
            train/loop.py: Run.steps
            methods/shared/rollout.py: draw_rollout, take_prompts
            train/labels.py: Labels.cap_prompts
            train/seeds.py: Seeds.take_exactly
            methods/shared/rollout.py: roll_out
            models/lm.py: LanguageModel.encode_prompt
            models/chat.py: encode_prompt
            sampling/native.py: NativeSampler.sample
            sampling/request.py: DrawnRows.__init__
            sampling/draw.py: uniforms
            sampling/support.py: examine
            sampling/request.py: batches
            sampling/decode.py: DecodeBatch.__init__ as way, DecodeBatch._prefill
            sampling/native.py: _complete
            models/forward.py: Head.__init__, Head.__call__ as head
            sampling/draw.py: choose_tokens, kept_ids, draw_tokens
            sampling/request.py: DrawnRows.add
            sampling/decode.py: DecodeBatch.keep
            sampling/ways.py: FusedBatch.step
            sampling/request.py: DrawnRows.samples
            models/lm.py: LanguageModel.completions, LanguageModel.decode
            models/chat.py: decode_answer
            methods/shared/rollout.py: score_answers
            rewards/tests.py: TestReward.score, TestReward.judge, TestReward._score_verdict
            methods/ppo.py: assess_with_critic
            methods/shared/surrogate.py: ask_old_and_reference
            models/reference.py: Reference.active
            methods/shared/surrogate.py: _sampled_logprobs
            models/forward.py: by_micro_batch
            batch.py: micro_batches
            models/forward.py: token_logprobs, states, _chunk, values
            ops.py: RunningMoments.restore
            methods/shared/surrogate.py: shape_scores
            ops.py: kl_estimate, token_rewards, gae, whiten
            methods/ppo.py: rescale_values
            ops.py: RunningMoments.update, RunningMoments.normalise
            methods/shared/rollout.py: cut_mini_batches
            batch.py: Experience.select
            train/learner.py: Learner.step
            methods/shared/surrogate.py: actor_terms
            losses/policy.py: ppo_policy_loss
            ops.py: reduce
            methods/shared/surrogate.py: make_guard
            train/learner.py: Learner._update
            methods/ppo.py: critic_terms
            losses/policy.py: ppo_value_loss
            methods/shared/surrogate.py: measure_rollout
            methods/ppo.py: KlController.update
            models/reference.py: Reference.follow
        """,
    ),
    Walk(
        "arm",
        "from a run file to its result.json (an arm's process, as a study starts it; testbed minicode, method dpo)",
        before=Counts(stops=76, files=24, lines=2413, hops=55, climbs=32),
        limits=Counts(stops=76, files=34, lines=3200, hops=62, climbs=30),
        visits="""
            arm/process.py: run_arm
            plain.py: read_data
            spec.py: parse_spec
            arm/spec.py: Arm
            spec.py: variant, Registry.parse, Registry.load
            arm/execute.py: execute
            arm/origin.py: manifest_of
            train/loop.py: open_run
            train/directory.py: locked, claim
            train/log.py: logged
            train/loop.py: Run.__init__, stopping
            arm/execute.py: earlier_result
            arm/open.py: open_arm, stages_of
            testbeds/minicode/testbed.py: Minicode.open
            arm/open.py: load_policy
            testbeds/minicode/testbed.py: OpenMinicode.words
            models/load.py: load_model
            models/tiny.py: make_tiny
            arm/open.py: open_bench, open_evaluators
            evaluation/hidden_tests.py: HiddenTests.open
            sampling/native.py: Native.open
            evaluation/bench.py: check_splits
            arm/execute.py: train_and_measure
            arm/data.py: provenance_of
            arm/spec.py: input_paths
            arm/data.py: refuse_shared_data
            arm/execute.py: method_parts
            arm/open.py: OpenArm.policy_to_train
            arm/data.py: preferences_of, rankings_of, rated_of
            methods/base.py: Parts
            methods/dpo.py: DPO.train
            train/loop.py: Run.steps, Run._restore
            train/checkpoint.py: read_newest_checkpoint
            train/loop.py: Run._look
            evaluation/evaluate.py: look
            evaluation/grading.py: draw
            evaluation/drawing.py: draw_rows
            sampling/native.py: NativeSampler.sample
            models/lm.py: LanguageModel.completions
            evaluation/hidden_tests.py: HiddenTestsEvaluator.grade
            evaluation/divergence.py: divergence
            train/selection.py: Selection.note
            train/files.py: new_directory
            train/loop.py: Run._write
            train/record.py: RunRecord.write_step
            train/files.py: Lines.write
            train/loop.py: Run._keep
            train/checkpoint.py: write_checkpoint
            train/loop.py: Run._take_best
            arm/execute.py: save_product
            models/verify.py: save_verified
            models/lm.py: LanguageModel.save
            models/verify.py: find_difference
            arm/execute.py: last_record
            train/files.py: read_lines
            arm/measuring.py: measure_policy
            evaluation/evaluate.py: evaluate
            evaluation/temperature.py: choose_temperature, try_temperatures
            evaluation/summary.py: summarise_split, summarise_answers, prompt_values
            evaluation/hidden_tests.py: HiddenTestsEvaluator.summarise
            evaluation/programs.py: rates
            evaluation/measures.py: pass_at_k
            evaluation/evaluate.py: first_answer
        """,
    ),
    Walk(
        "study",
        "from a study file to its report (preflab study FILE)",
        before=Counts(stops=116, files=32, lines=3491, hops=78, climbs=47),
        limits=Counts(stops=104, files=42, lines=4440, hops=74, climbs=33),
        visits="""
            cli/__init__.py: main, run_command, find_command
            cli/command.py: CliCommand.start, CliCommand.parser
            cli/study.py: _add_options as add_options, _run as run
            study/launchers/local.py: keep_single_threaded
            study/load.py: load_study, study_data
            plain.py: read_data
            study/load.py: merge_settings
            spec.py: parse_spec
            study/spec.py: Study
            spec.py: variant, Registry.parse, Registry.load
            analysis/record/declared.py: check_arms
            study/spec.py: Study.narrowed
            api.py: run_study
            train/directory.py: locked
            study/run.py: run_missing
            study/directory.py: claim_study, write_study
            study/plan.py: planned_runs, stage_runs
            study/spec.py: all_stages_needed
            arm/spec.py: stages_needed, input_paths
            study/plan.py: plan_run
            arm/spec.py: Arm
            study/run.py: run_watched
            study/launchers/local.py: Local.open
            study/runner.py: run_all, runs_to_do, is_done, ready_runs, charged_spec
            study/launchers/local.py: LocalLauncher.admit, LocalLauncher._fork, _become
            study/runner.py: finish
            study/watch.py: Watch.done
            api.py: report_study
            study/directory.py: read_study
            study/results/make.py: study_results, results_at
            analysis/gather.py: gather, total_counts
            analysis/board.py: Board.of, Board.table, problem_value
            analysis/scores.py: Scores
            analysis/statistics.py: find_winner, compare_scores
            analysis/scores.py: combined
            analysis/statistics.py: _analysed
            analysis/intervals.py: analyse, half_width, p_value
            analysis/statistics.py: _interval
            study/results/subjects.py: describe_evaluator
            analysis/reward_models.py: stage_results, pooled_accuracy
            study/results/subjects.py: describe_budget
            analysis/measured.py: measures_of
            study/results/arms.py: arm_result, setting_differences
            analysis/measured.py: measured_values
            analysis/statistics.py: mean_interval
            study/results/arms.py: run_result, spent_by
            analysis/curves.py: curve, frontier
            study/results/make.py: compare_arms
            analysis/statistics.py: compare_all
            analysis/decide.py: decide_claims, _decide
            analysis/statistics.py: contrast
            analysis/decide.py: outcome_of
            analysis/reward_models.py: reward_model_result
            analysis/verdict.py: study_verdict, holds_under_other_budget
            study/results/subjects.py: describe_tuning
            study/results/samples.py: choose_samples
            study/results/caveats.py: find_caveats
            analysis/gather.py: versions_of
            study/results/caveats.py: describe_unfinished
            analysis/gather.py: timing_of
            analysis/record/results.py: Results
            report/__init__.py: write_report
            analysis/record/results.py: dump_results
            report/table.py: render_csv
            report/markdown.py: render_markdown
            report/html.py: environment
            report/page.py: render_html
            report/html.py: style_sheet
            report/metrics.py: find_value, list_main_metrics
            report/forest.py: scale
            report/page.py: comparison_groups
            report/training.py: curves
            report/panels.py: panel
        """,
    ),
    Walk(
        "program",
        "from a completion to its verdict (evaluator hidden-tests, a program that reads standard input)",
        before=Counts(stops=28, files=8, lines=928, hops=10, climbs=3),
        limits=Counts(stops=29, files=6, lines=870, hops=8, climbs=3),
        visits="""
            evaluation/hidden_tests.py: HiddenTestsEvaluator.grade
            sandbox/judging.py: Judge.__call__ as judge, SandboxJudge.judge_once
            sandbox/answer.py: build_program, extract_program, _fenced_blocks, _cut_to_python, prepend
            sandbox/judging.py: SandboxJudge._run, Pool.judge, Pool._judge_one
            sandbox/verdict.py: Worker.judge, Worker._run_tests, Worker._run_script, Worker._open_box
            sandbox/process.py: open_box, Pipes.__init__, _make_memory_file, _start_process, Box.__init__, Box.finish
            sandbox/process.py: Box._watch, Box._read, Box._reap
            sandbox/verdict.py: _explain_end, Worker._compare_output
            sandbox/compare.py: same_text
            sandbox/verdict.py: _shorten
        """,
    ),
)

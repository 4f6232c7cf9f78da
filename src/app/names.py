"""Names that are not settings here, and what was probably meant: mistyped ones, PyMARL's, those of earlier versions."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping

from omegaconf import DictConfig

from ..registry import closest, in_plain_words, suggest

WHEN_CHOSEN = "when_chosen"
"""The section of values that apply while an option is chosen."""

ABOUT_RUNS = ("sweep", "report", "dashboard", "reproduce", "testbed")
"""Sections of the command line that are about runs, and no part of one."""

MOVED: Mapping[str, str] = {
    "train.batch_episodes": "replay.batch_episodes",
    "train.buffer_episodes": "replay.buffer_episodes",
    "train.updates_per_episode": "replay.updates_per_episode",
    "preset": WHEN_CHOSEN,
}
"""Settings of earlier versions and where they are now."""

PYMARL: Mapping[str, str] = {
    "batch_size": "replay.batch_episodes",
    "batch_size_run": "runner.n_envs",
    "buffer_size": "replay.buffer_episodes",
    "checkpoint_path": "init_from",
    "double_q": "learner.double_q",
    "epsilon_anneal_time": "selector.anneal_steps",
    "epsilon_finish": "selector.finish",
    "epsilon_start": "selector.start",
    "evaluate": "evaluate",
    "gamma": "learner.gamma",
    "grad_norm_clip": "learner.grad_clip",
    "hidden_dim": "network.rnn_dim",
    "hypernet_embed": "mixer.hypernet_dim",
    "hypernet_layers": "mixer.hypernet_layers",
    "load_step": "init_from",
    "log_interval": "train.log_interval_steps",
    "lr": "optimizer.lr",
    "map_name": "env.kwargs.map_name",
    "mixer": "mixer",
    "mixing_embed_dim": "mixer.embed_dim",
    "n_agents": "agents",
    "obs_agent_id": "controller.agent_id",
    "obs_last_action": "controller.last_action",
    "optim_alpha": "optimizer.alpha",
    "optim_eps": "optimizer.eps",
    "q_nstep": "learner.n_steps",
    "rnn_hidden_dim": "network.rnn_dim",
    "runner": "runner",
    "save_model_interval": "train.checkpoint_interval_steps",
    "seed": "seed",
    "standardise_returns": "learner.normalize_values",
    "standardise_rewards": "learner.standardize_rewards",
    "t_max": "train.total_steps",
    "target_update_interval": "learner.target_interval_updates",
    "target_update_interval_or_tau": "learner.target_interval_updates",
    "td_lambda": "learner.td_lambda",
    "test_interval": "train.eval_interval_steps",
    "test_nepisode": "eval.episodes",
    "time_limit": "env.episode_limit",
    "use_cuda": "device",
    "use_tensorboard": "logger",
}
"""Settings of PyMARL, PyMARL2 and EPyMARL, and the settings here that do the same."""

SYNONYMS: Mapping[str, str] = {
    "alg": "algo",
    "algorithm": "algo",
    "batch": "replay.batch_episodes",
    "buffer": "replay.buffer_episodes",
    "config": "algo",
    "cuda": "device",
    "discount": "learner.gamma",
    "discount_factor": "learner.gamma",
    "env_id": "env",
    "env_name": "env",
    "environment": "env",
    "epsilon": "selector.start",
    "epsilon_decay": "selector.anneal_steps",
    "epsilon_end": "selector.finish",
    "episode_length": "env.episode_limit",
    "gpu": "device",
    "hidden_size": "network.rnn_dim",
    "horizon": "env.episode_limit",
    "learning_rate": "optimizer.lr",
    "load": "init_from",
    "max_steps": "train.total_steps",
    "n_env": "runner.n_envs",
    "n_workers": "runner.workers",
    "num_agents": "agents",
    "num_envs": "runner.n_envs",
    "num_steps": "train.total_steps",
    "num_workers": "runner.workers",
    "output_dir": "hydra.run.dir",
    "results_dir": "hydra.run.dir",
    "steps": "train.total_steps",
    "tau": "learner.target_tau",
    "tensorboard": "logger=[tensorboard]",
    "timesteps": "train.total_steps",
    "total_timesteps": "train.total_steps",
    "use_gpu": "device",
    "use_wandb": "logger=[wandb]",
    "wandb": "logger=[wandb]",
}
"""Names that other programs use, and the settings here that do the same."""

PYMARL_OPTIONS: Mapping[str, str] = {
    "sc2": "smac",
    "sc2_beta": "smac",
    "sc2_v2": "smacv2",
    "sc2v2": "smacv2",
    "gymma": "gymnasium",
    "n_mac": "mac",
    "basic_mac": "mac",
    "noise_mac": "latent",
    "q_learner": "q",
    "nq_learner": "q",
    "max_q_learner": "weighted_q",
    "qtran_learner": "qtran",
    "ppo_learner": "ppo",
    "coma_learner": "coma",
    "noise_q_learner": "maven",
    "noisemix": "maven",
    "dmaq": "qplex",
}
"""Options of PyMARL, PyMARL2 and EPyMARL, and the options here that do the same."""


def unknown_key(wrong: str, known: Collection[str], cfg: DictConfig | None, where: str = "") -> str:
    """The sentence about a key that does not exist.

    Args:
        wrong: the key, with dots.
        known: the keys of the section it was looked for in.
        cfg: the composed configuration, to look for settings of the same name elsewhere; ``None``: there is none.
        where: the section, as it was chosen (``mixer=qmix``); empty at the top.
    """
    for moved in (wrong, wrong.split(".")[0]):
        if moved in MOVED:
            return f"{moved} is called {MOVED[moved]} now"
    section, _, last = wrong.rpartition(".")
    place = f"{where}: unknown key {last!r}" if where else f"unknown key or group {wrong!r}"
    if where and not known:
        place = f"{where} has no settings, so no {last!r}"
    typed = last if where else wrong.split(".")[0]
    meant = {**PYMARL, **SYNONYMS}.get(last) or (None if where else SYNONYMS.get(typed))
    elsewhere = [path.split(".") for path in (_settings(cfg, "") if cfg else ()) if path != wrong]
    same = [".".join(path) for path in elsewhere if path[-1] == last and path[0] not in ABOUT_RUNS]
    if same:
        near = closest(last, known)[:1] if where else [meant] if last in SYNONYMS else []
        return f"{place}; did you mean {' or '.join(map(repr, [*near, *same[:3]]))}?"
    if meant == last:
        return f"{place}; it stands at the top: {last}=…"
    if meant and meant != wrong:
        return f"{place}; it is {meant!r} here"
    if not known:
        return place
    if "kwargs" in known and not closest(typed, known):
        return f"{place}; an argument of its class is given as +{section}.kwargs.{last}=…; {suggest(typed, known)}"
    return f"{place}; {suggest(typed, known)}"


def one_line(error: BaseException) -> str:
    """The message of an error in one line, without OmegaConf's ``full_key:`` and links to Hydra's manual."""
    return in_plain_words(re.split(r" full_key: | See https://hydra\.cc", " ".join(str(error).split()))[0])


def _settings(node: DictConfig, above: str) -> Iterator[str]:
    """The full names of all settings below a node, except those of Hydra and under ``when_chosen``."""
    for key, value in node.items_ex(resolve=False):
        path = f"{above}{key!s}"
        if isinstance(value, DictConfig) and value:
            if path not in ("hydra", WHEN_CHOSEN):
                yield from _settings(value, f"{path}.")
        elif key != "name":
            yield path

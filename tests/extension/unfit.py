"""Parts that do not fit the others: each is answered with a sentence before anything is played."""

import torch

from hymarl.components.episode import Column
from hymarl.components.selectors.softmax import Softmax
from hymarl.learners.base import Learner
from hymarl.modules.critics.base import Critic
from hymarl.registry import register


@register("critic")
class OfActions(Critic):
    """Not a critic of states."""

    def forward(self, batch):
        return batch.reward


@register("learner")
class Curious(Learner):
    """Asks for something that there is not."""

    def __init__(self, controller, runner, **settings):
        super().__init__({"controller": controller}, runner, **settings)

    def loss(self, batch, weights=None):
        raise NotImplementedError


@register("selector")
class Meddling(Softmax):
    """Adds a column under a name that the actor-critic uses."""

    def __init__(self, spec, **settings):
        super().__init__(spec, **settings)
        self.extras |= {"returns": Column((), torch.float32, "T")}

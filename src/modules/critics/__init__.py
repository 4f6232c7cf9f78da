"""Critics: values that a learner trains beside the policy, from more than the policy sees."""

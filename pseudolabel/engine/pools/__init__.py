"""Pools of workers: of this machine, of a Ray cluster; and what is known of samples that crash them."""

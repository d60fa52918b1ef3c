"""From clusters to pseudo-masks: assignment, superpixel vote, regions and store."""

"""When leads resolve, and the poll ages that follow from it: estimate, optimum, what it is compared with. Pure."""

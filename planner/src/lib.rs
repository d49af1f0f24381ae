//! placet-planner

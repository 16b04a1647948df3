//! Tables and a model.

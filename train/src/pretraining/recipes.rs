//! How pre-training goes for usual purposes: files of settings, with the reasons beside the values.

/// A recipe: a name, what it is for, and the settings as TOML.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PretrainRecipe {
    /// What it is called.
    pub name: &'static str,
    /// What it is for, in a line.
    pub purpose: &'static str,
    /// The settings.
    pub toml: &'static str,
}

macro_rules! recipe {
    ($name:literal, $purpose:literal) => {
        PretrainRecipe {
            name: $name,
            purpose: $purpose,
            toml: include_str!(concat!("recipes/", $name, ".toml")),
        }
    };
}

/// All of them.
pub const RECIPES: [PretrainRecipe; 8] = [
    recipe!("built-in", "the built-in stories, in a few minutes on two cores"),
    recipe!("small-machine", "your own text on a laptop"),
    recipe!("one-gpu-hour", "ALBERT base on a GPU, about an hour"),
    recipe!("one-gpu-day", "ALBERT base on a GPU, about a day"),
    recipe!("base", "ALBERT base as the paper trained it"),
    recipe!("large", "ALBERT large as the paper trained it"),
    recipe!("xlarge", "ALBERT xlarge as the paper trained it"),
    recipe!("xxlarge", "ALBERT xxlarge as the paper trained it"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Layers, Pretrain};

    #[test]
    fn each_recipe_is_a_file_of_settings() {
        for recipe in RECIPES {
            let mut layers = Layers::<Pretrain>::new();
            layers.toml(recipe.toml, recipe.name.as_ref());
            let settings =
                layers.resolve().unwrap_or_else(|error| panic!("{}: {error}", recipe.name)).settings;
            assert!(recipe.toml.starts_with("# "), "{}: it says what it is for", recipe.name);
            let paper = ["base", "large", "xlarge", "xxlarge"].contains(&recipe.name);
            assert_eq!(settings.training.batch == 4096, paper, "{}", recipe.name);
        }
    }

    #[test]
    fn the_built_in_recipe_is_what_happens_where_nothing_is_said() {
        let mut layers = Layers::<Pretrain>::new();
        layers.toml(RECIPES[0].toml, "built-in".as_ref());
        let nothing_said = Layers::<Pretrain>::new().resolve().unwrap().settings;
        assert_eq!(layers.resolve().unwrap().settings, nothing_said);
    }

    #[test]
    fn the_papers_rate_is_the_rule_for_its_batch() {
        let base = RECIPES.iter().find(|recipe| recipe.name == "base").unwrap();
        let without: String = base
            .toml
            .lines()
            .filter(|l| !l.starts_with("learning_rate") && !l.starts_with("warmup"))
            .map(|line| format!("{line}\n"))
            .collect();
        let resolve = |toml: &str| {
            let mut layers = Layers::<Pretrain>::new();
            layers.toml(toml, "base".as_ref());
            // Without text it would be the built-in run.
            layers.flag("data.train", "--train", &["text.txt"]);
            layers.resolve().unwrap().settings.schedule()
        };
        assert_eq!(resolve(base.toml), resolve(&without));
    }
}

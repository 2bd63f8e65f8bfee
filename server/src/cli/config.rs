//! `knowlm.toml`: options that stand below the environment and above the built-in defaults.

use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, Command, builder::ArgPredicate};

/// Where the file is when it is not in the working directory.
const VARIABLE: &str = "KNOWLM_CONFIG";
const FILE: &str = "knowlm.toml";

/// What is wrong with the file.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("the settings in {} cannot be read: {reason}", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// It sets what no command has.
    #[error("{} sets \"{key}\", which is no option of any command; see `knowlm serve --help`", .file.display())]
    Unknown {
        /// The file.
        file: PathBuf,
        /// The name.
        key: String,
    },
    /// A value is of a kind that the option does not take.
    #[error(
        "{} gives \"{key}\" a value that is neither text, whole number nor a list of texts; true and false are for options without a value", .file.display())]
    Value {
        /// The file.
        file: PathBuf,
        /// The name.
        key: String,
    },
}

/// Makes the file's settings the defaults of the options of the same name.
pub fn apply(command: Command) -> Result<Command, ConfigError> {
    let given = std::env::var_os(VARIABLE).map(PathBuf::from);
    let file = given.clone().unwrap_or_else(|| FILE.into());
    match std::fs::read_to_string(&file) {
        Ok(text) => apply_text(command, &file, &text),
        Err(_) if given.is_none() => Ok(command),
        Err(e) => Err(ConfigError::Unreadable { file, reason: e.to_string() }),
    }
}

fn apply_text(mut command: Command, file: &Path, text: &str) -> Result<Command, ConfigError> {
    let table: toml::Table = text
        .parse()
        .map_err(|e: toml::de::Error| ConfigError::Unreadable { file: file.into(), reason: e.to_string() })?;
    for (key, value) in table {
        let values = texts(&value).ok_or_else(|| ConfigError::Value { file: file.into(), key: key.clone() })?;
        // clap keeps defaults for as long as the program runs.
        let values: Vec<&'static str> = values.into_iter().map(|v| &*v.leak()).collect();
        let id = key.replace('-', "_");
        let mut kinds = Vec::new();
        switches(&command, &id, &mut kinds);
        if kinds.is_empty() {
            return Err(ConfigError::Unknown { file: file.into(), key });
        }
        if kinds.iter().any(|is_switch| *is_switch != value.is_bool()) {
            return Err(ConfigError::Value { file: file.into(), key });
        }
        command = set(command, &id, &values);
    }
    Ok(command)
}

/// Whether each command below this one that has an option of this name has it as a switch.
fn switches(command: &Command, id: &str, found: &mut Vec<bool>) {
    for below in command.get_subcommands() {
        let option = option(below, id);
        found.extend(option.map(|a| matches!(a.get_action(), ArgAction::SetTrue)));
        switches(below, id, found);
    }
}

/// The option of a name; what stands by its place alone is none.
fn option<'a>(command: &'a Command, id: &str) -> Option<&'a Arg> {
    command.get_arguments().find(|a| a.get_id() == id && !a.is_positional())
}

/// Makes values the default of the options of a name in all commands below this one, however deep.
fn set(command: Command, id: &str, values: &[&'static str]) -> Command {
    let names: Vec<String> = command.get_subcommands().map(|c| c.get_name().to_owned()).collect();
    names.into_iter().fold(command, |command, name| {
        command.mut_subcommand(name, |below| {
            let below = set(below, id, values);
            if option(&below, id).is_none() {
                return below;
            }
            let rivals = rivals(&below, id);
            below.mut_arg(id, |a| {
                // A flag that cannot stand beside this one switches it off.
                let given = || ArgPredicate::Equals("true".into());
                let a = rivals.into_iter().fold(a, |a, rival| a.default_value_if(rival, given(), "false"));
                a.default_values(values.to_vec())
            })
        })
    })
}

/// Switches that cannot stand beside the switch of this name.
fn rivals(command: &Command, id: &str) -> Vec<&'static str> {
    let excludes =
        |a: &Arg, b: &Arg| command.get_arg_conflicts_with(a).iter().any(|other| other.get_id() == b.get_id());
    let is_switch = |a: &&Arg| matches!(a.get_action(), ArgAction::SetTrue);
    let Some(own) = command.get_arguments().filter(is_switch).find(|a| a.get_id() == id) else { return vec![] };
    let others = command.get_arguments().filter(is_switch).filter(|other| excludes(own, other) || excludes(other, own));
    others.map(|other| &*other.get_id().to_string().leak()).collect()
}

fn texts(value: &toml::Value) -> Option<Vec<String>> {
    match value {
        toml::Value::String(text) => Some(vec![text.clone()]),
        toml::Value::Integer(number) => Some(vec![number.to_string()]),
        toml::Value::Boolean(on) => Some(vec![on.to_string()]),
        toml::Value::Array(values) => values.iter().map(|v| v.as_str().map(str::to_owned)).collect(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    fn listen(toml: &str, line: &str) -> String {
        let command = apply_text(Cli::command(), Path::new(FILE), toml).unwrap();
        let matches = command.try_get_matches_from(line.split(' ')).unwrap();
        let (_, serve) = matches.subcommand().unwrap();
        serve.get_one::<std::net::SocketAddr>("listen").unwrap().to_string()
    }

    #[test]
    fn the_file_stands_above_the_defaults_and_below_the_command_line() {
        assert_eq!(listen("", "knowlm serve"), "127.0.0.1:7860");
        assert_eq!(listen("listen = '127.0.0.1:80'\nadapter = ['a=b', 'c=d']", "knowlm serve"), "127.0.0.1:80");
        assert_eq!(listen("listen = '127.0.0.1:80'", "knowlm serve --listen 127.0.0.1:81"), "127.0.0.1:81");
    }

    #[test]
    fn switches_are_true_or_false() {
        let four_bit = |toml: &str| {
            let command = apply_text(Cli::command(), Path::new(FILE), toml).unwrap();
            let matches = command.try_get_matches_from(["knowlm", "serve"]).unwrap();
            matches.subcommand().unwrap().1.get_flag("load_4bit")
        };
        assert_eq!((four_bit(""), four_bit("load-4bit = false"), four_bit("load-4bit = true")), (false, false, true));
        assert!(apply_text(Cli::command(), Path::new(FILE), "load-4bit = 'yes'").is_err());
    }

    #[test]
    fn a_flag_wins_over_a_switch_of_the_file_that_it_excludes() {
        let bits = |toml: &str, line: &str| {
            let command = apply_text(Cli::command(), Path::new(FILE), toml).unwrap();
            let matches = command.try_get_matches_from(line.split(' ')).unwrap();
            let serve = matches.subcommand().unwrap().1;
            (serve.get_flag("load_8bit"), serve.get_flag("load_4bit"))
        };
        assert_eq!(bits("load-4bit = true", "knowlm serve --load-8bit"), (true, false));
        assert_eq!(bits("load-8bit = true", "knowlm serve --load-4bit"), (false, true));
        assert_eq!(bits("load-8bit = true", "knowlm serve"), (true, false));
    }

    #[test]
    fn commands_of_commands_take_their_options_too() {
        let toml = "threads = 3\nmirror = 'https://hub.example'\noverwrite = true";
        let command = apply_text(Cli::command(), Path::new(FILE), toml).unwrap();
        let line = "knowlm weights convert model --to hf --out other";
        let convert = |line: &str| {
            let matches = command.clone().try_get_matches_from(line.split(' ')).unwrap();
            let (_, convert) = matches.subcommand().unwrap().1.subcommand().unwrap();
            (convert.get_one::<usize>("threads").copied(), convert.get_flag("overwrite"))
        };
        assert_eq!(convert(line), (Some(3), true));
        assert_eq!(convert(&format!("{line} --threads 1")), (Some(1), true));
    }

    #[test]
    fn mistakes_in_the_file_are_named() {
        let error = |toml| apply_text(Cli::command(), Path::new(FILE), toml).unwrap_err().to_string();
        assert!(error("lissten = 'x'").contains("\"lissten\""));
        assert!(error("listen = ").contains("knowlm.toml cannot be read"));
        assert!(error("listen = true").contains("neither text"));
    }
}

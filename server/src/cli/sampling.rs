//! The sampling flags, made from the table of parameters. What has a meaning only for extraction has none: the command that
//! extracts has its own.

use std::sync::LazyLock;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use protocol::{PARAMETERS, ParameterError, ParameterSpec, Parameters, params::ParameterKind};

/// What was given of them.
#[derive(Clone, Debug, Default)]
pub struct SamplingArgs {
    given: Vec<(&'static str, Vec<String>)>,
}

impl SamplingArgs {
    /// The defaults with what was given over them.
    pub fn over(&self, mut parameters: Parameters) -> Result<Parameters, ParameterError> {
        for (name, values) in &self.given {
            if *name == "stop" {
                // As they are: a string to stop at may hold a line break here, which it cannot in the page.
                parameters.stop.clone_from(values);
            } else {
                for value in values {
                    parameters.set_text(name, value)?;
                }
            }
        }
        parameters.validate()?;
        Ok(parameters)
    }
}

fn flagged() -> impl Iterator<Item = &'static ParameterSpec> {
    PARAMETERS.iter().filter(|spec| !spec.extracts)
}

impl FromArgMatches for SamplingArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut all = Self::default();
        all.update_from_arg_matches(matches)?;
        Ok(all)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for spec in flagged() {
            if let Some(values) = matches.get_many::<String>(spec.name) {
                self.given.push((spec.name, values.cloned().collect()));
            }
        }
        Ok(())
    }
}

impl Args for SamplingArgs {
    fn augment_args(command: Command) -> Command {
        static FLAGS: LazyLock<Vec<String>> = LazyLock::new(|| flagged().map(ParameterSpec::flag).collect());
        flagged().zip(FLAGS.iter()).fold(command, |command, (spec, flag)| {
            let many = spec.kind == ParameterKind::Strings;
            let arg = Arg::new(spec.name)
                .long(flag.as_str())
                .value_name(match spec.kind {
                    ParameterKind::Strings => "TEXT",
                    ParameterKind::Switch => "on|off",
                    ParameterKind::Number { .. } | ParameterKind::OptionalWhole => "NUMBER",
                })
                .help(spec.help.0)
                .help_heading("Sampling")
                .action(if many { ArgAction::Append } else { ArgAction::Set })
                .allow_hyphen_values(true);
            command.arg(arg)
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use protocol::Mode;

    use super::*;

    fn read(line: &str) -> Result<Parameters, ParameterError> {
        let matches = SamplingArgs::augment_args(Command::new("x")).try_get_matches_from(line.split(' ')).unwrap();
        SamplingArgs::from_arg_matches(&matches).unwrap().over(Parameters::published(Mode::Lora))
    }

    #[test]
    fn every_parameter_of_the_table_but_those_of_extraction_is_a_flag() {
        let p = read(
            "x --temperature 0 --top-p 0.5 --top-k 3 --min-p 0.1 --beams 4 --max-new-tokens 9 --repetition-penalty 1 \
             --length-penalty -0.5 --early-stopping on --stop-repeats off --presence-penalty 0.5 --frequency-penalty -0.5 --seed 7 --stop a --stop b",
        );
        let p = p.unwrap();
        assert_eq!((p.temperature, p.top_p, p.top_k, p.beams, p.max_new_tokens), (0.0, 0.5, 3, 4, 9));
        assert_eq!((p.min_p, p.presence_penalty, p.frequency_penalty), (0.1, 0.5, -0.5));
        assert_eq!((p.length_penalty, p.early_stopping, p.stop_repeats), (-0.5, true, false));
        assert_eq!((p.repetition_penalty, p.seed, p.stop), (1.0, Some(7), vec!["a".to_owned(), "b".to_owned()]));
    }

    #[test]
    fn a_value_out_of_range_is_refused_in_the_words_of_the_table() {
        assert_eq!(
            read("x --temperature 7").unwrap_err().to_string(),
            "temperature: must be a number from 0 to 2; it is 7"
        );
        assert_eq!(read("x --top-k -1").unwrap_err().message.en, "must be a whole number from 0 to 1000; it is -1");
        assert!(read("x --beams 9").is_err());
    }
}

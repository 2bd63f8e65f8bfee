#![allow(clippy::unwrap_used)]
//! Jobs from the form to the result, on small real files. The work itself runs in the process of the test.

use std::{fs, path::Path, time::Duration};

use app::{
    services::{FIRST_OWNER, Owner},
    weights::WeightServices,
};
use protocol::job::{JobState, JobView, Outcome};

use super::*;
use crate::weights::state::{Plan, State};

/// A folder of data with a small model and an adapter in it.
async fn studio() -> (tempfile::TempDir, Arc<Jobs>) {
    let data = tempfile::tempdir().unwrap();
    model(&data.path().join("models/small"));
    let adapter = data.path().join("adapters/mine");
    fs::create_dir_all(&adapter).unwrap();
    fs::write(adapter.join("adapter_config.json"), r#"{"r": 4, "lora_alpha": 8}"#).unwrap();
    let store = Store::open(data.path()).await.unwrap();
    let jobs = Jobs::new(store, data.path());
    (data, jobs)
}

/// A file of safetensors with two tensors, and a configuration.
fn model(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    let header = br#"{"a.weight":{"dtype":"F32","shape":[2,32],"data_offsets":[0,256]},"b":{"dtype":"F32","shape":[4],"data_offsets":[256,272]}}"#;
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header);
    bytes.extend((0..68).flat_map(|n| (n as f32 / 7.0).to_le_bytes()));
    fs::write(folder.join("model.safetensors"), bytes).unwrap();
    fs::write(folder.join("config.json"), r#"{"model_type": "llama"}"#).unwrap();
}

fn convert(out: &str) -> JobRequest {
    let mut request = JobRequest::new(Operation::Convert);
    for (name, value) in [("input", "small"), ("to", "hf"), ("dtype", "f16"), ("out", out)] {
        request.set(name, value);
    }
    request
}

/// Waits until a job has ended.
async fn ended(jobs: &Jobs, id: &str) -> JobView {
    for _ in 0..2000 {
        let job = jobs.job(FIRST_OWNER, id).await.unwrap();
        if !job.state.is_going() {
            return job;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the job did not end")
}

fn refused(done: Result<String, NotBegun>) -> (String, String) {
    match done {
        Err(NotBegun::Refused(refused)) => (refused.field, refused.sentence.en),
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_converted_then_inspected_and_verified() {
    let (data, jobs) = studio().await;
    jobs.resume().await.unwrap();
    let id = jobs.begin(FIRST_OWNER, convert("half")).await.unwrap();
    let job = ended(&jobs, &id).await;
    assert_eq!((job.state, job.error), (JobState::Done, None));
    let Some(Outcome::Written(written)) = job.outcome else { panic!("nothing written: {:?}", job.outcome) };
    assert_eq!(written.path, data.path().join("models/half").display().to_string());
    assert_eq!((written.tensors, written.manifest_sha256.len()), (2, 64));
    assert!(data.path().join("models/half/model.safetensors").is_file());

    let inspect = JobRequest { input: "half".into(), ..JobRequest::new(Operation::Inspect) };
    let id = jobs.begin(FIRST_OWNER, inspect).await.unwrap();
    let Some(Outcome::Inspected(found)) = ended(&jobs, &id).await.outcome else { panic!("not inspected") };
    assert_eq!((found.parameters, found.stored[0].element.as_str()), (68, "F16"));
    assert_eq!(found.groups[0].tensors[0].shape, [2, 32]);

    let verify = JobRequest { input: "half".into(), ..JobRequest::new(Operation::Verify) };
    let id = jobs.begin(FIRST_OWNER, verify.clone()).await.unwrap();
    let Some(Outcome::Verified(found)) = ended(&jobs, &id).await.outcome else { panic!("not verified") };
    assert!(found.ok && found.tensors == Some((2, 2, "knowlm-manifest.json".into())), "{found:?}");

    let file = data.path().join("models/half/model.safetensors");
    let mut bytes = fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&file, bytes).unwrap();
    let id = jobs.begin(FIRST_OWNER, verify).await.unwrap();
    let job = ended(&jobs, &id).await;
    let Some(Outcome::Verified(found)) = job.outcome else { panic!("not verified") };
    assert_eq!((job.state, found.ok), (JobState::Done, false));
    assert_eq!(
        (found.problems[0].file.as_str(), found.problems[0].tensor.as_deref()),
        ("model.safetensors", Some("b"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_meant_is_refused_with_its_field() {
    let (data, jobs) = studio().await;
    let begin = |request: JobRequest| jobs.begin(FIRST_OWNER, request);
    let with = |name: &str, value: &str| {
        let mut request = convert("x");
        request.set(name, value);
        request
    };
    for (field, value, words) in [
        ("input", "", "Name a model."),
        ("input", "nothing", "There is no “nothing” in "),
        ("input", "/no/such/place", "There is nothing at /no/such/place"),
        ("to", "floppy", "choose its form"),
        ("dtype", "q4_k", "A folder cannot hold q4_k"),
        ("shard", "large", "is no size"),
        ("out", "../up", "cannot be the name"),
        ("out", "a/b", "cannot be the name"),
        ("out", ".hidden", "cannot be the name"),
        ("out", "small", "is there already"),
    ] {
        let (at, said) = refused(begin(with(field, value)).await);
        assert_eq!(at, field, "{said}");
        assert!(said.contains(words), "{said}");
    }
    let mut merge = JobRequest { input: "small".into(), ..JobRequest::new(Operation::Merge) };
    for (adapters, words) in [
        ("", "at least one"),
        ("mine=much", "is no weight"),
        ("small", "is no adapter"),
        ("mine\nno", "There is no “no”"),
    ] {
        merge.adapters = adapters.into();
        let (field, said) = refused(begin(merge.clone()).await);
        assert!(field == "adapters" && said.contains(words), "{said}");
    }
    let mut setup = JobRequest { input: "small".into(), ..JobRequest::new(Operation::Setup) };
    assert!(refused(begin(setup.clone()).await).1.contains("Name the difference"));
    setup.other = "zhixi-13b-base-fp32".into();
    assert_eq!(refused(begin(setup.clone()).await).0, "other", "it is made, not published");
    (setup.other, setup.merged) = ("small".into(), "on".into());
    assert_eq!(refused(begin(setup).await), ("adapters".into(), "Name the adapter to merge.".into()));
    let quantize = |dtype: &str, to: &str| JobRequest {
        input: "small".into(),
        dtype: dtype.into(),
        to: to.into(),
        gptq: "on".into(),
        calibration: if to == "gptq" { "no-text.txt".into() } else { String::new() },
        ..JobRequest::new(Operation::Quantize)
    };
    assert_eq!(refused(begin(quantize("q8_0", "gguf")).await).0, "dtype", "GPTQ has its own formats");
    assert_eq!(refused(begin(quantize("", "gptq")).await).0, "calibration");
    let unread = JobRequest { gptq: String::new(), calibration: "text.txt".into(), ..quantize("q4_0", "gguf") };
    let (field, said) = refused(begin(unread).await);
    assert!(field == "calibration" && said.contains("only GPTQ reads"), "{said}");
    let unscored = JobRequest { quick: "on".into(), text: "text.txt".into(), ..quantize("q4_0", "gguf") };
    let (field, said) = refused(begin(unscored).await);
    assert!(field == "text" && said.contains("no perplexity"), "{said}");
    let mut download = JobRequest { input: "no such name".into(), ..JobRequest::new(Operation::Download) };
    assert!(refused(begin(download.clone()).await).1.contains("OWNER/REPOSITORY"));
    download.input = "zhixi-13b-base-fp32".into();
    assert!(refused(begin(download.clone()).await).1.contains("cannot be fetched"));
    (download.input, download.mirror) = ("a/b".into(), "file:///etc".into());
    assert_eq!(refused(begin(download).await).0, "mirror");
    assert!(jobs.jobs(FIRST_OWNER).await.unwrap().is_empty(), "nothing was begun");
    assert_eq!(fs::read_dir(data.path().join("models")).unwrap().count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_road_is_one_job_that_says_its_steps() {
    let (data, jobs) = studio().await;
    jobs.resume().await.unwrap();
    let mut request = JobRequest::new(Operation::Setup);
    for (name, value) in [("input", "small"), ("other", "small"), ("out", "road")] {
        request.set(name, value);
    }
    let id = jobs.begin(FIRST_OWNER, request).await.unwrap();
    let job = ended(&jobs, &id).await;
    assert_eq!((job.state, job.error), (JobState::Done, None));
    let Some(Outcome::Written(written)) = job.outcome else { panic!("nothing written: {:?}", job.outcome) };
    assert_eq!(written.path, data.path().join("models/road/base").display().to_string());
    let twice: f32 = (0..68).map(|n| 2.0 * n as f32 / 7.0).sum();
    assert!((written.sum.unwrap() - twice).abs() < 1e-2);
    let last = job.notes.last().unwrap();
    assert_eq!((last.en.as_str(), last.zh.as_str()), ("4 of 4: Check the result", "第 4 步，共 4 步：检查结果"));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_jobs_never_write_to_one_place() {
    let (_data, jobs) = studio().await;
    // Nothing is worked on: both would wait.
    let first = jobs.begin(FIRST_OWNER, convert("half")).await.unwrap();
    assert!(refused(jobs.begin(FIRST_OWNER, convert("half")).await).1.contains("is there already"));
    let second = jobs.begin(FIRST_OWNER, convert("")).await.unwrap();
    let third = jobs.begin(FIRST_OWNER, convert("")).await.unwrap();
    let place = |job: JobView| job.place.unwrap().rsplit('/').next().unwrap().to_owned();
    assert_eq!(place(jobs.job(FIRST_OWNER, &second).await.unwrap()), "small-hf");
    let third = jobs.job(FIRST_OWNER, &third).await.unwrap();
    assert_eq!((third.before, place(third)), (2, "small-hf-2".into()));
    jobs.act(FIRST_OWNER, &first, Act::Stop).await.unwrap();
    assert_eq!(jobs.job(FIRST_OWNER, &first).await.unwrap().state, JobState::Stopped);
    jobs.act(FIRST_OWNER, &first, Act::Forget).await.unwrap();
    assert!(jobs.begin(FIRST_OWNER, convert("half")).await.is_ok(), "the name is free again");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_end_of_the_server_cut_off_goes_on_but_not_for_ever() {
    let (_data, jobs) = studio().await;
    let id = jobs.begin(FIRST_OWNER, convert("half")).await.unwrap();
    let cut_off = async || {
        let mut job = jobs.store.job(FIRST_OWNER.0, &id).await.unwrap();
        job.state = JobState::Running;
        jobs.store.update_job(&job).await.unwrap();
    };
    for _ in 1..CUT_OFF {
        cut_off().await;
        jobs.closing.store(true, Ordering::SeqCst);
        assert_eq!(jobs.resume().await.unwrap(), 1);
    }
    cut_off().await;
    assert_eq!(jobs.resume().await.unwrap(), 0);
    let job = jobs.job(FIRST_OWNER, &id).await.unwrap();
    assert!(job.state == JobState::Stopped && job.error.is_some(), "{job:?}");

    jobs.closing.store(false, Ordering::SeqCst);
    jobs.resume().await.unwrap();
    jobs.act(FIRST_OWNER, &id, Act::On).await.unwrap();
    assert_eq!(ended(&jobs, &id).await.state, JobState::Done);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_fails_says_why_and_can_be_tried_again() {
    let (data, jobs) = studio().await;
    jobs.resume().await.unwrap();
    let weights = data.path().join("models/small/model.safetensors");
    let whole = fs::read(&weights).unwrap();
    fs::write(&weights, &whole[..100]).unwrap();
    let id = jobs.begin(FIRST_OWNER, convert("half")).await.unwrap();
    let job = ended(&jobs, &id).await;
    assert_eq!(job.state, JobState::Failed);
    let said = job.error.unwrap();
    assert!(said.en.contains("model.safetensors") && said.zh.contains("未能完成"), "{said:?}");
    fs::write(&weights, whole).unwrap();
    jobs.act(FIRST_OWNER, &id, Act::On).await.unwrap();
    assert_eq!(ended(&jobs, &id).await.state, JobState::Done);
}

#[tokio::test]
async fn nobody_but_the_owner_sees_or_begins_anything() {
    let (_data, jobs) = studio().await;
    let id = jobs.begin(FIRST_OWNER, convert("half")).await.unwrap();
    let other = Owner(2);
    assert!(matches!(jobs.begin(other, convert("mine")).await, Err(NotBegun::Failed(_))));
    assert!(jobs.act(other, &id, Act::Stop).await.is_err());
    assert!(jobs.jobs(other).await.is_err() && jobs.job(other, &id).await.is_err());
    assert!(jobs.weights(other, None).await.is_err());
}

#[tokio::test]
async fn the_page_lists_what_is_there() {
    let (_data, jobs) = studio().await;
    let view = jobs.weights(FIRST_OWNER, Some(JobRequest::new(Operation::Inspect))).await.unwrap();
    let small = view.models.iter().find(|found| found.name == "small").unwrap();
    assert!(small.own && small.bytes > 272, "{small:?}");
    assert!(view.adapters.iter().any(|found| found.name == "mine"));
    assert_eq!(view.refused.unwrap().field, "input");
    assert!(view.published.iter().any(|(name, _)| name == "smollm2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_road_that_is_forgotten_gives_its_name_back_but_nothing_of_a_person_s() {
    let (data, jobs) = studio().await;
    jobs.resume().await.unwrap();
    let road = data.path().join("models/road");
    let difference = data.path().join("models/difference");
    model(&difference);
    // It fails where the difference is checked: there is something in its folder then.
    fs::write(difference.join("model.safetensors"), "damaged").unwrap();
    let mut request = JobRequest::new(Operation::Setup);
    for (name, value) in [("input", "small"), ("other", "difference"), ("out", "road")] {
        request.set(name, value);
    }
    for (person_s, left) in [(None, false), (Some("notes.txt"), true)] {
        let id = jobs.begin(FIRST_OWNER, request.clone()).await.unwrap();
        assert_eq!(ended(&jobs, &id).await.state, JobState::Failed);
        assert!(road.is_dir() && refused(jobs.begin(FIRST_OWNER, request.clone()).await).0 == "out");
        if let Some(name) = person_s {
            fs::write(road.join(name), "mine").unwrap();
        }
        jobs.act(FIRST_OWNER, &id, Act::Forget).await.unwrap();
        assert_eq!(road.exists(), left);
    }
    let names: Vec<_> = fs::read_dir(&road).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["notes.txt"]);
}

#[test]
fn only_what_is_unfinished_is_removed() {
    let data = tempfile::tempdir().unwrap();
    let models = data.path().join("models");
    let make = |name: &str| fs::create_dir_all(models.join(name)).unwrap();
    make("whole");
    make("whole/.knowlm-unfinished");
    fs::write(models.join("whole/knowlm-manifest.json"), "{}").unwrap();
    make("begun/.knowlm-unfinished");
    make("a-person-s");
    make(".x.gguf.unfinished");
    fs::write(models.join(".x.gguf.gptq"), "rounded").unwrap();
    // A road with a base that is whole, and a merged model that is not.
    for name in ["road/base", "road/merged/.knowlm-unfinished", "road/downloads/zhixi-13b-diff-fp16", "other/base"] {
        make(name);
    }
    fs::write(models.join("road/base/knowlm-manifest.json"), "{}").unwrap();
    let plan = Plan {
        raw: "small".into(),
        diff: "zhixi-13b-diff-fp16".into(),
        adapter: "none".into(),
        merge: true,
        gguf: None,
    };
    State::new(plan).save(&models.join("road")).unwrap();
    for name in ["whole", "begun", "a-person-s", "x.gguf", "road", "other"] {
        remove_unfinished(&models.join(name), &models);
    }
    remove_unfinished(data.path(), &models);
    let left = |name: &str| models.join(name).exists();
    assert!(left("whole") && left("a-person-s") && !left("begun"));
    assert!(!left(".x.gguf.unfinished") && !left(".x.gguf.gptq"));
    assert!(left("road/base") && left("other/base"));
    assert!(!left("road/merged") && !left("road/downloads") && !left("road/knowlm-setup.json"));
}

import onnx
from onnx import TensorProto, helper

from pipeline.conversion.onnx_graph import strip


def test_nothing_is_left_of_where_the_export_ran():
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    body = helper.make_graph([helper.make_node("Identity", ["x"], ["z"], doc_string="File /srv/someone/model.py")], "body", [], [value])
    node = helper.make_node("If", ["c"], ["y"], then_branch=body, else_branch=body)
    helper.set_model_props(node, {"pkg.torch.onnx.stack_trace": "File /srv/someone/model.py"})
    graph = helper.make_graph([node], "main", [value], [value], doc_string="/srv/someone", value_info=[value])
    model = helper.make_model(graph, doc_string="/srv/someone")
    strip(model)
    assert b"someone" not in model.SerializeToString()
    assert not model.graph.value_info
    assert [n.op_type for n in model.graph.node] == ["If"]
    assert len(onnx.load_from_string(model.SerializeToString()).graph.input) == 1
